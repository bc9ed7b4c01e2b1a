"""Accuracy and calibration of models whose probabilities are known."""

import math

import pytest
import torch
from conftest import subject

from ebm_cli.energies import GaussianBase
from ebm_cli.metrics import Classifier, Skip
from ebm_cli.metrics.classifier import calibration_error, calibration_spread
from ebm_cli.models import Network

# classifier --------------------------------------------------------------------------------------------------------


def test_calibration_error_of_a_calibrated_toy_is_zero_and_of_an_overconfident_one_the_gap():
    y = torch.cat([torch.zeros(75), torch.ones(25)]).long()
    assert float(calibration_error(torch.full((100,), 0.75), y == 0, 15)) == pytest.approx(0, abs=1e-6)
    assert float(calibration_error(torch.full((100,), 0.95), y == 0, 15)) == pytest.approx(0.2, abs=1e-6)


def test_certain_predictions_share_the_last_bin_with_nearly_certain_ones():
    """|accuracy - confidence| of all thousand together: |.950 - .985|, by the definition of Guo et al. (2017)."""
    certain = (-torch.tensor([[0.0, 18.0]])).softmax(1)[0, 0]  # 1.0 in float32
    confidence = torch.cat([certain.repeat(500), torch.full((500,), 0.97)])
    correct = torch.cat([torch.arange(500) < 450, torch.ones(500, dtype=torch.bool)])
    for kind in (torch.float32, torch.float64):
        assert float(calibration_error(confidence.to(kind), correct, 15)) == pytest.approx(0.0350, abs=1e-6)


def test_an_edge_belongs_to_the_bin_below_it():
    confidence, correct = torch.tensor([0.5, 0.5001], dtype=torch.float64), torch.tensor([True, False])
    assert float(calibration_error(confidence, correct, 2)) == pytest.approx((0.5 + 0.5001) / 2)
    assert float(calibration_error(confidence, correct, 1)) == pytest.approx(0.0001 / 2)


@pytest.mark.parametrize("n_bins", [10, 15, 20])
def test_calibration_error_agrees_with_torchmetrics_where_no_confidence_is_an_edge(n_bins):
    from torchmetrics.functional.classification import multiclass_calibration_error

    generator = torch.Generator().manual_seed(n_bins)
    p = torch.randn(2000, 5, generator=generator).double().softmax(1)
    y = torch.randint(5, (2000,), generator=generator)
    confidence, guess = p.max(1)
    expected = multiclass_calibration_error(p, y, 5, n_bins=n_bins, norm="l1")
    assert float(calibration_error(confidence, guess == y, n_bins)) == pytest.approx(float(expected), abs=1e-6)
    draws = calibration_error(confidence.view(4, 500), (guess == y).view(4, 500), n_bins)
    assert draws[1] == calibration_error(confidence[500:1000], (guess == y)[500:1000], n_bins)


class Known(Network):
    """Class energies that put probability .9 on the digit that a lookup of the image gives."""

    def __init__(self, x, y):
        super().__init__(x.shape[1:], n_classes=10, joint=True)
        self.x, self.y = x, y

    def outputs(self, x, y=None):
        nearest = torch.cdist(x.flatten(1), self.x.flatten(1)).argmin(1)
        p = torch.full((len(x), 10), 0.1 / 9)
        return -p.scatter(1, self.y[nearest][:, None], 0.9).log()


def test_classifier_scores_of_a_model_that_is_always_right_with_probability_09(digits, tmp_path):
    values = Classifier()(subject(digits, tmp_path, energy=Known(*digits.split("test"))))
    assert values["classifier/accuracy"].value == 1
    assert values["classifier/nll"].value == pytest.approx(-math.log(0.9), rel=1e-4)
    assert values["classifier/brier"].value == pytest.approx(0.1**2 + 9 * (0.1 / 9) ** 2, rel=1e-4)
    assert values["classifier/ece15"].value == pytest.approx(0.1, abs=1e-4)
    assert values["classifier/ece20"].protocol["bins"] == 20
    assert (tmp_path / "reliability.png").is_file()


def test_classifier_skips_an_energy_without_classes(digits, tmp_path):
    with pytest.raises(Skip, match="objective=jem"):
        Classifier()(subject(digits, tmp_path, energy=GaussianBase(digits.shape)))


def test_error_of_the_calibration_error_agrees_with_simulation():
    def drawn(seed):
        g = torch.Generator().manual_seed(seed)
        p = (torch.randn(300, 4, generator=g) * 1.5).double().softmax(1)
        honest = p.square() / p.square().sum(1, keepdim=True)  # probabilities that the labels follow: sharper
        confidence, guess = p.max(1)
        return confidence, guess == torch.multinomial(honest, 1, generator=g)[:, 0]

    sets = [drawn(seed) for seed in range(120)]
    spread = torch.stack([calibration_error(*one, 15) for one in sets]).std()
    claimed = torch.tensor([calibration_spread(*one, 15, 60) for one in sets[:15]]).mean()
    assert float(claimed) == pytest.approx(float(spread), rel=0.3)


class Conditional(Known):
    """The same energies from a network that takes labels, as a class-conditional model does."""

    def __init__(self, x, y):
        super().__init__(x, y)
        self.joint = False


def test_class_conditional_energies_are_read_by_argmin(digits, tmp_path):
    energy = Conditional(*digits.split("test"))
    table = energy.outputs(digits.split("test").x)
    energy.outputs = lambda x, y: table[: len(x) // 10].repeat_interleave(10, 0).gather(1, y[:, None])
    values = Classifier(n=None)(subject(digits, tmp_path, energy=energy))
    assert values["classifier/accuracy"].value == 1
    assert "class-conditional" in values["classifier/accuracy"].protocol["model"]
