"""Accuracy and calibration of models whose probabilities are known."""

import math

import pytest
import torch
from conftest import subject

from ebm_cli.energies import Energy
from ebm_cli.metrics import Classifier, Skip
from ebm_cli.metrics.classifier import binned, calibration_error, calibration_spread
from ebm_cli.models import Network

# classifier --------------------------------------------------------------------------------------------------------


def test_calibration_error_of_a_calibrated_toy_is_zero_and_of_an_overconfident_one_the_gap():
    y = torch.cat([torch.zeros(75), torch.ones(25)]).long()
    honest = torch.tensor([[0.75, 0.25]]).repeat(100, 1).double()
    assert calibration_error(honest, y, 15) == pytest.approx(0, abs=1e-6)
    assert calibration_error(torch.tensor([[0.95, 0.05]]).repeat(100, 1), y, 15) == pytest.approx(0.2, abs=1e-6)


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
        Classifier()(subject(digits, tmp_path, energy=Energy(digits.shape)))


def test_error_of_the_calibration_error_agrees_with_simulation():
    def drawn(seed):
        g = torch.Generator().manual_seed(seed)
        p = (torch.randn(300, 4, generator=g) * 1.5).double().softmax(1)
        honest = p.square() / p.square().sum(1, keepdim=True)  # probabilities that the labels follow: sharper
        return p, torch.multinomial(honest, 1, generator=g)[:, 0]

    sets = [drawn(seed) for seed in range(120)]
    spread = torch.tensor([binned(*one, 15) for one in sets]).std()
    claimed = torch.tensor([calibration_spread(*one, 15, 60) for one in sets[:15]]).mean()
    assert float(claimed) == pytest.approx(float(spread), rel=0.3)
    assert binned(*sets[0], 15) == pytest.approx(calibration_error(*sets[0], 15), abs=1e-6)


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
