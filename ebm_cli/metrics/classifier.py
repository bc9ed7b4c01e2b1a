"""classifier: how right a joint model's class probabilities are, and how honest."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.metrics.metric import Metric, Skip, Value, need_energy
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.utils.plotting import new_figure, save

CHUNK = 500


class Classifier(Metric):
    """Accuracy, negative log-likelihood, Brier score and expected calibration error on the test split.

    ``ece15`` and ``ece20`` are the L1 calibration errors of the top class in so many equal bins (Guo et al. 2017). A
    class-conditional energy is read as ``argmin_y E(x, y)``, which takes all classes to have the same normalizer.

    Args:
        n: test examples, classes in proportion; null takes all.
        draws: of the bootstrap behind the standard errors of the calibration errors.
    """

    def __init__(self, *, n: int | None = None, draws: int = 200):
        if (n is not None and n < 2) or draws < 2:
            raise ValueError(f"n (or null for the whole test split) and draws must be at least 2, got {n}, {draws}")
        self.n, self.draws = n, draws

    def check(self, subject: TrainedModel) -> None:
        need_energy(subject)
        if not subject.data.n_classes:
            raise Skip(f"{subject.data.name} has no labels to compare with")
        class_probabilities(subject, subject.data.split("test", 2).x)

    def __call__(self, subject: TrainedModel) -> dict[str, Value | Skip]:
        self.check(subject)
        x, y = subject.data.split("test", self.n)
        probabilities = class_probabilities(subject, x)
        reliability(probabilities, y, subject.directory / "reliability.png")
        kind = "joint" if getattr(subject.energy, "joint", False) else "class-conditional, equal normalizers assumed"
        protocol = {"split": "test", "probabilities": "softmax of minus E(x, y)", "model": kind}
        scores = {
            "accuracy": (probabilities.argmax(1) == y).double(),
            "nll": -probabilities.gather(1, y[:, None])[:, 0].clamp_min(1e-300).log(),
            "brier": (probabilities - torch.eye(probabilities.shape[1])[y]).square().sum(1),
        }
        values = {name: Value(float(s.mean()), standard_error(s), len(s), protocol) for name, s in scores.items()}
        for bins in (15, 20):
            binning = protocol | {"bins": bins, "norm": "l1", "bootstrap": self.draws}
            stderr = calibration_spread(probabilities, y, bins, self.draws)
            values[f"ece{bins}"] = Value(calibration_error(probabilities, y, bins), stderr, len(y), binning)
        return {f"classifier/{name}": value for name, value in values.items()}


def class_probabilities(subject: TrainedModel, x: Tensor) -> Tensor:
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


def calibration_spread(probabilities: Tensor, y: Tensor, bins: int, draws: int) -> float:
    """Standard error of the calibration error when test examples are drawn anew, with replacement."""
    generator = torch.Generator().manual_seed(0)
    drawn = (torch.randint(len(y), (len(y),), generator=generator) for _ in range(draws))
    return float(torch.tensor([binned(probabilities[rows], y[rows], bins) for rows in drawn]).std())


def binned(probabilities: Tensor, y: Tensor, bins: int) -> float:
    """``sum_b n_b / N |accuracy_b - confidence_b|``: torchmetrics takes a hundred times longer."""
    confidence, guess = probabilities.max(1)
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    return float(torch.bincount(place, (guess == y).double() - confidence, minlength=bins).abs().sum() / len(y))


def reliability(probabilities: Tensor, y: Tensor, file, bins: int = 15):
    """Draws accuracy over confidence, and how many examples each bin has; a calibrated model lies on the diagonal."""
    confidence, guess = probabilities.max(1)
    right = (guess == y).double()
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    count = torch.bincount(place, minlength=bins)
    accuracy = torch.bincount(place, right, minlength=bins) / count.clamp_min(1)
    centers = (torch.arange(bins) + 0.5) / bins
    figure, axes = new_figure(4.5, 4)
    full = count > 0
    axes[0][0].bar(centers[full].tolist(), accuracy[full].tolist(), 0.9 / bins, label="accuracy")
    for where, height, number in zip(centers[full], accuracy[full], count[full], strict=True):
        axes[0][0].text(where, height + 0.01, int(number), ha="center", size=7)
    axes[0][0].plot([0, 1], [0, 1], "k--", label="calibrated")
    axes[0][0].set(xlabel="confidence (number of examples above)", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.06))
    axes[0][0].legend()
    return save(figure, file)
