"""classifier: how right a joint model's class probabilities are, and how honest."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.metrics.metric import Metric, Skip, Value, need_energy
from ebm_cli.pictures import new_figure, save
from ebm_cli.run import Subject

CHUNK = 500


class Classifier(Metric):
    """Accuracy, negative log-likelihood, Brier score and expected calibration error on the test split.

    ``ece15`` and ``ece20`` are the L1 calibration errors of the top class in so many equal bins (Guo et al. 2017).

    Args:
        n: test examples, classes in proportion; null takes all.
    """

    def __init__(self, *, n: int | None = None):
        if n is not None and n < 2:
            raise ValueError(f"n must be at least 2, or null for the whole test split, got {n}")
        self.n = n

    def __call__(self, subject: Subject) -> dict[str, Value | Skip]:
        need_energy(subject)
        x, y = subject.data.split("test", self.n)
        if y is None:
            raise Skip(f"{subject.data.name} has no labels to compare with")
        probabilities = class_probabilities(subject, x)
        reliability(probabilities, y, subject.directory / "reliability.png")
        protocol = {"split": "test", "probabilities": "softmax of minus E(x, y)"}
        scores = {
            "accuracy": (probabilities.argmax(1) == y).double(),
            "nll": -probabilities.gather(1, y[:, None])[:, 0].clamp_min(1e-300).log(),
            "brier": (probabilities - torch.eye(probabilities.shape[1])[y]).square().sum(1),
        }
        values = {name: Value(float(s.mean()), standard_error(s), len(s), protocol) for name, s in scores.items()}
        for bins in (15, 20):
            binning = protocol | {"bins": bins, "norm": "l1"}
            values[f"ece{bins}"] = Value(calibration_error(probabilities, y, bins), None, len(y), binning)
        return {f"classifier/{name}": value for name, value in values.items()}


def class_probabilities(subject: Subject, x: Tensor) -> Tensor:
    """``p(y | x)`` of the model, ``(N, K)`` in float64.

    Raises:
        Skip: if the model has no classes.
    """
    if not subject.energy.n_classes or not hasattr(subject.energy, "class_energies"):
        raise Skip("the energy has no classes: train with objective=jem, or with a class-conditional model")
    with torch.no_grad():
        parts = [subject.energy.class_energies(part.to(subject.device)).cpu() for part in x.split(CHUNK)]
    return (-torch.cat(parts).double()).softmax(1)


def standard_error(scores: Tensor) -> float:
    """Standard error of the mean of ``(N,)``."""
    return float(scores.std() / len(scores) ** 0.5)


def calibration_error(probabilities: Tensor, y: Tensor, bins: int) -> float:
    """Mean gap between confidence and accuracy of the top class, over ``bins`` equal bins weighted by their share."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    return float(multiclass_calibration_error(probabilities, y, probabilities.shape[1], n_bins=bins, norm="l1"))


def reliability(probabilities: Tensor, y: Tensor, file, bins: int = 15):
    """Draws accuracy over confidence, bin by bin; a calibrated model lies on the diagonal."""
    confidence, guess = probabilities.max(1)
    right = (guess == y).double()
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    count = torch.bincount(place, minlength=bins)
    accuracy = torch.bincount(place, right, minlength=bins) / count.clamp_min(1)
    centres = (torch.arange(bins) + 0.5) / bins
    figure, axes = new_figure(4.5, 4)
    full = count > 0
    axes[0][0].bar(centres[full].tolist(), accuracy[full].tolist(), 0.9 / bins, label="accuracy")
    axes[0][0].plot([0, 1], [0, 1], "k--", label="calibrated")
    axes[0][0].set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes[0][0].legend()
    return save(figure, file)
