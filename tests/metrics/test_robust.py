"""Attacks with known answers: a linear classifier whose robust accuracy is exact, and one that masks its gradients."""

import pytest
import torch
from conftest import subject

from ebm_cli.energies import GaussianBase
from ebm_cli.metrics import Robust, Skip
from ebm_cli.metrics.attacks import Attacked, Logits
from ebm_cli.models import Network

pytest.importorskip("foolbox", reason="needs foolbox: pip install ebm-cli[robust]")


class Linear(Network):
    """The nearest class mean, which is linear; ``masked`` rounds its inputs, so that nothing has a gradient."""

    def __init__(self, data, masked=False):
        super().__init__(data.shape, n_classes=data.n_classes, joint=True)
        x, y = data.split("train")
        self.means = torch.stack([x[y == k].mean(0).flatten() for k in range(data.n_classes)])
        self.masked = masked

    def outputs(self, x, y=None):
        if self.masked:
            x = (x * 4).round() / 4
        return 0.5 * self.means.square().sum(1) - x.flatten(1) @ self.means.T


def exact(model, data, epsilon):
    """Robust accuracy of a linear classifier in the maximum norm, without the border of the grey scale: by margins."""
    x, y = data.split("test")
    logits = -model.class_energies(x)
    weights = model.means[y][:, None] - model.means[None]
    margin = logits.gather(1, y[:, None]) - logits - 2 * epsilon * weights.abs().sum(2)
    return float((margin.scatter(1, y[:, None], torch.inf) > 0).all(1).double().mean())


def test_accuracy_under_attack_of_a_linear_classifier_is_that_of_its_margins(digits, tmp_path):
    model = Linear(digits)
    values = Robust(epsilons=[0.01, 0.03, 0.08], n=None, autoattack=None, autoattack_n=40)(
        subject(digits, tmp_path, energy=model)
    )
    for epsilon in (0.01, 0.03, 0.08):
        found = values[f"robust/linf/{epsilon}/accuracy"].value
        bound = exact(model, digits, epsilon)  # the border takes some of the attack's room
        assert bound - 0.005 <= found <= bound + 0.06, epsilon
    assert values["robust/linf/0.08/accuracy"].value < values["robust/linf/0.01/accuracy"].value - 0.1
    assert values["robust/checks/unbounded"].value == 0
    assert values["robust/checks/zero_gradients"].value == 0


def test_masked_gradients_are_exposed(digits, tmp_path):
    pytest.importorskip("pyautoattack", reason="needs pyautoattack: pip install ebm-cli[robust]")
    options = dict(epsilons=[0.05, 0.15], n=40, steps=10, restarts=1, autoattack_n=5)
    honest = Robust(**options, autoattack=None)(subject(digits, tmp_path, energy=Linear(digits)))
    masked = Robust(**options, autoattack=0.15)(subject(digits, tmp_path, energy=Linear(digits, masked=True)))
    assert honest["robust/checks/passed"].value == 5
    assert masked["robust/checks/zero_gradients"].value == 1
    assert masked["robust/checks/unbounded"].value > 0.1
    assert masked["robust/checks/passed"].value <= 3
    assert "gradients are zero" in str(masked["robust/linf/0.15/autoattack"])


def test_autoattack_breaks_whatever_gradients_break(digits, tmp_path):
    pytest.importorskip("pyautoattack", reason="needs pyautoattack: pip install ebm-cli[robust]")
    x, y = digits.split("test", 30)
    attacked = Attacked(Logits(subject(digits, tmp_path, energy=Linear(digits))), (x + 1) / 2, y, "linf", seed=0)
    assert attacked.automatic(0.35).sum() == 0 == attacked.survivors(0.35, steps=40, restarts=1).sum()


def test_models_without_classes_and_wrong_words_are_one_line(digits, tmp_path):
    with pytest.raises(Skip, match="objective=jem"):
        Robust().check(subject(digits, tmp_path, energy=GaussianBase(digits.shape)))
    with pytest.raises(ValueError, match="linf or l2"):
        Robust(norm="l3")
    with pytest.raises(ValueError, match="above 0"):
        Robust(epsilons=[0.0])


def test_projected_gradient_descent_finds_what_a_plain_one_in_double_precision_finds(digits, tmp_path):
    """By hand: x + alpha sign(grad loss), clipped to the ball and to [0, 1], random start (Madry et al. 2018)."""
    pytest.importorskip("foolbox", reason="needs foolbox: pip install ebm-cli[robust]")
    x, y = digits.split("test", 60)
    model = Logits(subject(digits, tmp_path, energy=Linear(digits)))
    attacked = Attacked(model, (x + 1) / 2, y, "linf", seed=0)
    exactly = Linear(digits)
    exactly.means = exactly.means.double()
    twin = Logits(subject(digits, tmp_path, energy=exactly))
    for epsilon in (0.02, 0.06):
        images, alive = attacked.x.double(), torch.ones(60, dtype=torch.bool)
        generator = torch.Generator().manual_seed(1)
        for _ in range(2):
            start = epsilon * (2 * torch.rand(images.shape, generator=generator, dtype=torch.float64) - 1)
            point = (images + start).clamp(0, 1)
            for _ in range(20):
                point.requires_grad_()
                loss = torch.nn.functional.cross_entropy(twin(point), y, reduction="sum")
                (slope,) = torch.autograd.grad(loss, point)
                step = point.detach() + 2.5 / 20 * epsilon * slope.sign()
                point = images + (step - images).clamp(-epsilon, epsilon)
                point = point.clamp(0, 1)
            alive &= twin(point).argmax(1) == y
        found = attacked.survivors(epsilon, steps=20, restarts=2)
        assert int((found.bool() != alive).sum()) <= 1, epsilon
