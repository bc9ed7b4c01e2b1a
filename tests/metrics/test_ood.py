"""AUROC with ties, FPR and their errors, scores and sets of the out-of-distribution metric."""

import numpy as np
import pytest
import torch
from conftest import subject

from ebm_cli.metrics import OOD, Skip, detection, ood, ood_images
from ebm_cli.models import Network

# ood ---------------------------------------------------------------------------------------------------------------


def test_auroc_counts_ties_as_half():
    assert detection.auroc(torch.tensor([1.0, 2.0, 2.0]), torch.tensor([0.0, 2.0])) == pytest.approx(
        (1 + 1 + 1 + 0.5 * 2) / 6
    )
    assert detection.auroc(torch.ones(5), torch.ones(7)) == 0.5
    assert detection.auroc(torch.arange(5.0) + 10, torch.arange(5.0)) == 1.0


def test_fpr95_is_the_share_of_others_above_the_threshold_that_95_percent_of_the_test_images_reach():
    inside = torch.arange(100.0)
    assert detection.fpr(inside, torch.tensor([4.0, 5.0, 6.0, -1.0])) == 0.5
    assert detection.average_precision(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.0])) == pytest.approx(
        0.5 * 1 + 0.5 * 2 / 3
    )


def test_standard_error_of_the_auroc_agrees_with_simulation():
    g = torch.Generator().manual_seed(0)
    areas = [detection.auroc(torch.randn(80, generator=g) + 1, torch.randn(60, generator=g)) for _ in range(300)]
    claimed = detection.auroc_error(float(np.mean(areas)), 80, 60)
    assert claimed == pytest.approx(float(np.std(areas)), rel=0.2)


class Distance(Network):
    """Energy: squared distance to the mean training image."""

    def __init__(self, mean, **keywords):
        super().__init__(mean.shape, **keywords)
        self.mean = mean

    def outputs(self, x, y=None):
        return (x - self.mean).square().flatten(1).sum(1, keepdim=True)


def test_energies_that_see_noise_as_far_give_auroc_one_and_others_are_skipped_with_reasons(digits, tmp_path):
    model = subject(digits, tmp_path, energy=Distance(digits.split("train").x.mean(0)))
    values = OOD(sets=["inverted", "vflip"], datasets=["two_moons", "nowhere"])(model)
    assert values["ood/inverted/energy/auroc"].value > 0.99
    assert values["ood/inverted/energy/fpr95_in"].value < 0.05
    assert 0.5 < values["ood/vflip/gaussian/auroc"].value < 0.95
    assert "no classes" in str(values["ood/*/max_softmax"])
    assert isinstance(values["ood/two_moons"], Skip) and "images" in str(values["ood/two_moons"])
    assert isinstance(values["ood/nowhere"], Skip) and "fashion_mnist" in str(values["ood/nowhere"])


def test_other_sets_are_what_their_names_say(digits, tmp_path):
    test = digits.split("test", 20).x
    made = {name: ood_images.make_others(name, test, subject(digits, tmp_path)) for name in ood_images.SETS}
    assert torch.equal(made["vflip"][:, :, 0], test[:, :, -1]) and torch.equal(made["inverted"], -test)
    assert torch.equal(made["shuffled"].flatten(1).sort(1).values, test.flatten(1).sort(1).values)
    assert not torch.equal(made["shuffled"], test)
    assert (made["constant"].flatten(1).std(1) < 1e-6).all() and made["constant"].mean((1, 2, 3)).std() > 0.3
    assert torch.equal(made["rot90"].rot90(-1, (2, 3)), test)
    again = ood_images.make_others("noise", test, subject(digits, tmp_path))
    assert torch.equal(made["noise"], again) and made["noise"].min() < -0.95 and made["noise"].max() > 0.95


def test_wrong_words_name_the_choices():
    with pytest.raises(ValueError, match="vflop.*vflip"):
        OOD(sets=["vflop"])
    with pytest.raises(ValueError, match="energies.*grad_norm"):
        OOD(scores=["energies"])


def test_bootstrap_errors_agree_with_simulation():
    def drawn(seed):
        g = torch.Generator().manual_seed(seed)
        return torch.randn(150, generator=g) + 1.5, torch.randn(120, generator=g)

    pairs = [drawn(seed) for seed in range(200)]
    found = torch.tensor([(detection.average_precision(*pair), detection.fpr(*pair)) for pair in pairs])
    claimed = torch.tensor([detection.bootstrap(*pair, draws=100) for pair in pairs[:30]]).mean(0)
    assert claimed[0] == pytest.approx(float(found[:, 0].std()), rel=0.25)
    assert claimed[1] == pytest.approx(float(found[:, 1].std()), rel=0.3)


def test_bootstrap_without_any_choice_gives_the_numbers_themselves(monkeypatch):
    g = torch.Generator().manual_seed(0)
    inside, outside = (
        (torch.randn(90, generator=g) + 1).round(decimals=1),
        torch.randn(70, generator=g).round(decimals=1),
    )
    seen = {}
    monkeypatch.setattr(detection, "resampled", lambda n, draws, seed: torch.ones(draws, n))
    monkeypatch.setattr(torch.Tensor, "std", lambda values: seen.setdefault(len(seen), values).mean())
    precision, accepted = detection.bootstrap(inside, outside, draws=2)
    monkeypatch.undo()
    assert precision == pytest.approx(detection.average_precision(inside, outside), abs=1e-6)
    assert accepted == pytest.approx(detection.fpr(inside, outside), abs=1e-6)


def test_fpr_has_its_convention_in_the_key_and_typicality_is_two_sided(digits, tmp_path):
    model = subject(digits, tmp_path, energy=Distance(digits.split("train").x.mean(0)))
    values = OOD(sets=["vflip", "constant"], scores=["energy", "typicality"])(model)
    inside = -model.energy(digits.split("test").x)
    flipped = -model.energy(digits.split("test").x.flip(2))
    assert values["ood/vflip/energy/fpr95_in"].value == detection.fpr(inside, flipped)
    assert values["ood/vflip/energy/fpr95_out"].value == detection.fpr(-flipped, -inside)
    assert values["ood/vflip/energy/fpr95_in"].stderr > 0 < values["ood/vflip/energy/aupr_out"].stderr
    score = ood.SCORES["typicality"](model)
    typical = inside.sort().values[len(inside) // 2]
    middle = digits.split("test").x[(inside - typical).abs().argmin()][None]
    nearest = digits.split("test").x[inside.argmax()][None]  # likelier than is typical
    assert score(middle) > score(nearest)
