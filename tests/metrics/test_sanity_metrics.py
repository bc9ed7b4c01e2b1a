"""Copies, missing modes and drifting chains are seen, and what is sound passes."""

import math

import pytest
import torch
from conftest import subject

from ebm_cli.datasets import Digits, RingOfGaussians, Toy
from ebm_cli.energies import Energy, GaussianBase
from ebm_cli.metrics import Modes, Nearest, Skip, Stability
from ebm_cli.metrics import modes as modes_module
from ebm_cli.metrics.nearest import compare
from ebm_cli.runs.trained import Samples, TrainedModel
from ebm_cli.samplers import Langevin

# nearest -----------------------------------------------------------------------------------------------------------


def test_copies_have_ratio_zero_and_test_images_ratio_one(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("ebm_cli.metrics.nearest.load_or_train_reference", lambda data: Pixels())
    train, test = digits.split("train").x, digits.split("test").x
    values = Nearest()(subject(digits, tmp_path, samples=Samples(train[:300])))
    assert values["nearest/pixel/ratio"].value == pytest.approx(0, abs=1e-3)
    assert values["nearest/pixel/copies"].value == values["nearest/feature/copies"].value == 1
    values = Nearest()(subject(digits, tmp_path, samples=Samples(test)))
    assert values["nearest/pixel/ratio"].value == pytest.approx(1, rel=1e-6)
    assert values["nearest/feature/ratio"].value == pytest.approx(1, rel=1e-6)
    assert (tmp_path / "nearest.png").is_file()


class Pixels:
    """A classifier whose features are the pixels."""

    def classify(self, x):
        return x.flatten(1), None


def test_mirrored_copies_are_copies_only_where_flips_count(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("ebm_cli.metrics.nearest.load_or_train_reference", lambda data: Pixels())
    mirrored = subject(digits, tmp_path, samples=Samples(digits.split("train").x[:200].flip(-1)))
    assert Nearest(flips=True)(mirrored)["nearest/pixel/ratio"].value == pytest.approx(0, abs=1e-3)
    assert Nearest()(mirrored)["nearest/pixel/ratio"].value > 1


def test_error_of_the_ratio_agrees_with_simulation():
    g = torch.Generator().manual_seed(0)
    found = [compare(2 + torch.rand(60, generator=g), 1 + torch.rand(40, generator=g), "x", {}) for _ in range(300)]
    ratios = torch.tensor([values["nearest/x/ratio"].value for values in found])
    claimed = torch.tensor([values["nearest/x/ratio"].stderr for values in found]).mean()
    assert float(claimed) == pytest.approx(float(ratios.std()), rel=0.15)


# modes -------------------------------------------------------------------------------------------------------------


class Brightness:
    """A classifier of grey images in [-1, 1] that tells ten levels of brightness."""

    def classify(self, x):
        return None, torch.eye(10)[((x.mean((1, 2, 3)) + 1) * 4.999).long()]


class Stacked(Digits):
    """Three channels of constant brightness; training images have all 1000 modes once."""

    def __init__(self):
        super().__init__(value_range=[-1, 1])
        self.shape = (3, 8, 8)

    def split(self, name, n=None):
        levels = torch.cartesian_prod(*[torch.arange(10)] * 3).float()
        x = (levels / 4.999 - 1 + 0.01)[:, :, None, None].expand(-1, -1, 8, 8)
        return super().split(name, n)._replace(x=x)


def test_modes_of_stacked_digits_are_counted_per_channel(tmp_path, monkeypatch):
    monkeypatch.setattr(modes_module, "load_or_train_reference", lambda data: Brightness())
    data = Stacked()
    every = data.split("train").x
    metric = Modes(classifier="digits")
    values = metric(subject(data, tmp_path, samples=Samples(every)))
    assert values["modes/found"].value == 1000 and values["modes/kl"].value == pytest.approx(0, abs=1e-12)
    half = subject(data, tmp_path, samples=Samples(every[:500]))  # the first channel has five of its ten digits
    values = metric(half)
    assert values["modes/found"].value == 500 and values["modes/kl"].value == pytest.approx(math.log(2))
    assert values["modes/found"].protocol["of"] == 1000


def test_a_classifier_of_another_size_or_name_is_a_reason(digits, tmp_path):
    stacked = Stacked()
    with pytest.raises(Skip, match="classifier=nowhere"):
        Modes(classifier="nowhere").check(subject(stacked, tmp_path))
    toy = Toy(density=RingOfGaussians(), n_train=100, n_validation=10, n_test=50)
    with pytest.raises(Skip, match="no images"):
        Modes().check(subject(toy, tmp_path))


# stability ---------------------------------------------------------------------------------------------------------


class Well(Energy):
    """A Gaussian well around the origin; ``slope`` tilts it, so that chains settle elsewhere."""

    def __init__(self, slope=0.0):
        super().__init__((2,))
        self.slope = slope

    def forward(self, x):
        return 0.5 * x.square().sum(1) - self.slope * x[:, 0]


class Normal(Toy):
    def load(self, part):
        return torch.randn(self.sizes[part], 2, generator=torch.Generator().manual_seed(len(part))), None


def trained(energy, directory):
    data = Normal(density=RingOfGaussians(), n_train=1000, n_validation=10, n_test=1000)
    sampler = Langevin(n_steps=50, step_size=0.05)
    base = GaussianBase((2,), mean=0.0, std=1.0, fit_to_data=False)
    return TrainedModel(energy, base, sampler, data, 50, None, 0, 10, directory, None)


def test_an_energy_that_is_the_data_has_no_gap_and_another_has_its_own(tmp_path):
    values = Stability(n=600, times=2)(trained(Well(), tmp_path))
    assert abs(values["stability/gap"].value) < 4 * values["stability/gap"].stderr < 0.4
    assert isinstance(values["stability/kept"], Skip)
    assert values["stability/long/drift/from_data/end"].value < 0.15
    values = Stability(n=600, times=2)(trained(Well(slope=2.0), tmp_path))
    # E has mean d/2 - 2 under the model, d/2 under the data, where its deviation is sqrt(d/2 + slope^2)
    assert values["stability/gap"].value == pytest.approx(-2 / math.sqrt(1 + 4), abs=0.12)
    assert values["stability/long/drift/from_data/end"].value == pytest.approx(2 / math.sqrt(2), abs=0.15)
