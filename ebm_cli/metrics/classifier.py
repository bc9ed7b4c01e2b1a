"""classifier: how right a joint model's class probabilities are, and how honest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.metrics.metric import Metric, Skip, Value, need_energy
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.utils.plotting import new_figure, save

CHUNK = 500


@dataclass(kw_only=True, eq=False)
class Classifier(Metric):
    """Accuracy, negative log-likelihood, Brier score and expected calibration error on the test split.

    ``ece15`` and ``ece20`` are the L1 calibration errors of the top class in so many equal bins (Guo et al. 2017). A
    class-conditional energy is read as ``argmin_y E(x, y)``, which takes all classes to have the same normalizer.

    Args:
        n: test examples, classes in proportion; null takes all.
        draws: of the bootstrap behind the standard errors of the calibration errors.
    """

    n: int | None = None
    draws: int = 200

    def __post_init__(self):
        if (self.n is not None and self.n < 2) or self.draws < 2:
            found = f"got {self.n}, {self.draws}"
            raise ValueError(f"n (or null for the whole test split) and draws must be at least 2, {found}")

    def check(self, model: TrainedModel) -> None:
        need_energy(model)
        if not model.data.n_classes:
            raise Skip(f"{model.data.name} has no labels to compare with")
        class_probabilities(model, model.data.split("test", 2).x)

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        x, y = model.data.split("test", self.n)
        probabilities = class_probabilities(model, x)
        draw_reliability(probabilities, y, model.directory / "reliability.png")
        kind = "joint" if getattr(model.energy, "joint", False) else "class-conditional, equal normalizers assumed"
        protocol = {"split": "test", "probabilities": "softmax of minus E(x, y)", "model": kind}
        scores = {
            "accuracy": (probabilities.argmax(1) == y).double(),
            "nll": -probabilities.gather(1, y[:, None])[:, 0].clamp_min(1e-300).log(),
            "brier": (probabilities - torch.eye(probabilities.shape[1])[y]).square().sum(1),
        }
        values = {name: Value(float(s.mean()), standard_error(s), len(s), protocol) for name, s in scores.items()}
        confidence, guess = probabilities.max(1)
        for bins in (15, 20):
            binning = protocol | {"bins": bins, "norm": "l1", "bootstrap": self.draws}
            error = float(calibration_error(confidence, guess == y, bins))
            stderr = calibration_spread(confidence, guess == y, bins, self.draws)
            values[f"ece{bins}"] = Value(error, stderr, len(y), binning)
        return {f"classifier/{name}": value for name, value in values.items()}


def class_probabilities(model: TrainedModel, x: Tensor) -> Tensor:
    """``p(y | x)`` of the model, ``(N, K)`` in float64.

    Raises:
        Skip: if the model has no classes.
    """
    if not model.energy.n_classes or not hasattr(model.energy, "class_energies"):
        raise Skip("the energy has no classes: train with objective=jem, or with a class-conditional model")
    with torch.no_grad():
        parts = [model.energy.class_energies(part.to(model.device)).cpu() for part in x.split(CHUNK)]
    return (-torch.cat(parts).double()).softmax(1)


def standard_error(scores: Tensor) -> float:
    """Standard error of the mean of ``(N,)``."""
    return float(scores.std() / len(scores) ** 0.5)


def calibration_error(confidence: Tensor, correct: Tensor, n_bins: int) -> Tensor:
    """Expected calibration error: how far confidence and accuracy are apart (Guo et al. 2017).

    ``sum_b n_b / N |accuracy_b - confidence_b|`` over bins ``((b - 1) / n_bins, b / n_bins]``, in float64: a model that
    is certain has confidence 1.0, which float32 edges would put into a bin of its own.

    Args:
        confidence: probability of the top class, ``(..., N)``; leading dimensions are separate draws.
        correct: whether that class is right, ``(..., N)``.
        n_bins: number of equal bins.

    Returns:
        one error per draw, ``(...)``, float64.

    Example:
        >>> confidence = torch.tensor([0.95, 0.95, 0.95, 0.95])
        >>> correct = torch.tensor([True, True, True, False])
        >>> round(float(calibration_error(confidence, correct, 15)), 4)
        0.2
    """
    gap = correct.double() - confidence.double()
    sums = torch.zeros(*gap.shape[:-1], n_bins, dtype=torch.float64)
    return sums.scatter_add_(-1, bin_of(confidence, n_bins), gap).abs().sum(-1) / gap.shape[-1]


def bin_of(confidence: Tensor, n_bins: int) -> Tensor:
    """The number of the bin ``(a, b]`` that each confidence lies in, from 0."""
    edges = torch.arange(1, n_bins, dtype=torch.float64) / n_bins
    return torch.bucketize(confidence.double(), edges)


def calibration_spread(confidence: Tensor, correct: Tensor, n_bins: int, draws: int) -> float:
    """Standard error of the calibration error when test examples are drawn anew, with replacement."""
    generator = torch.Generator().manual_seed(0)
    rows = (torch.randint(len(correct), (len(correct),), generator=generator) for _ in range(draws))
    return float(torch.stack([calibration_error(confidence[r], correct[r], n_bins) for r in rows]).std())


def draw_reliability(probabilities: Tensor, y: Tensor, file, bins: int = 15):
    """Draws accuracy over confidence, and how many examples each bin has; a calibrated model lies on the diagonal."""
    confidence, guess = probabilities.max(1)
    right = (guess == y).double()
    place = bin_of(confidence, bins)
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
