"""ood: how well scores of the model tell test images from images that are not of the data."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ebm_cli.config import build, option_node
from ebm_cli.energies.energy import energies, energy_and_grad
from ebm_cli.metrics.classifier import class_probabilities
from ebm_cli.metrics.frechet import PixelGaussian
from ebm_cli.metrics.metric import Metric, Skip, Value, need_energy, need_images
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.utils import plotting

CHUNK = 500
Score = Callable[[Tensor], Tensor]


class OOD(Metric):
    """AUROC, AUPR and FPR95 of test images against images from elsewhere, beside a Gaussian of the pixels.

    Every score is high for what the model takes to be of the data: ``energy`` is -E (Liu et al. 2020), ``grad_norm`` is
    -|grad E| (Grathwohl et al. 2020), ``max_softmax`` the top class probability (Hendrycks & Gimpel 2017),
    ``typicality`` minus the distance of E to its mean on training images (Nalisnick et al. 2019, one image), and
    ``gaussian`` minus the Mahalanobis distance to the training pixels: a model that does not beat it has learned
    nothing for this purpose. The positive class is in the key: ``aupr_in`` and ``fpr95_in`` take test images as
    positive (share of the others accepted where 95 % of the test images are), ``aupr_out`` and ``fpr95_out`` the
    others (share of the test images rejected where 95 % of the others are).

    Args:
        n: images of each set, at most; null takes the whole test split.
        sets: made from noise or from test images: noise, constant, rot90, vflip, shuffled, inverted.
        datasets: options of the group ``dataset`` whose test images are shown in this data's shape and value range.
        scores: which of energy, max_softmax, grad_norm, typicality and gaussian.
        draws: of the bootstrap behind the standard errors of AUPR and FPR95.
    """

    def __init__(
        self,
        *,
        n: int | None = 1000,
        sets: list[str] = ("noise", "constant", "rot90", "vflip", "shuffled", "inverted"),
        datasets: list[str] = (),
        scores: list[str] = ("energy", "max_softmax", "grad_norm", "typicality", "gaussian"),
        draws: int = 200,
    ):
        for name, given, known in (("sets", sets, SETS), ("scores", scores, SCORES)):
            for choice in given:
                if choice not in known:
                    raise ValueError(f"{name}: {choice!r} is unknown; choose from {', '.join(known)}")
        if n is not None and n < 2:
            raise ValueError(f"n must be at least 2, or null for the whole test split, got {n}")
        if draws < 2:
            raise ValueError(f"draws must be at least 2, got {draws}")
        self.n, self.sets, self.datasets, self.scores = n, list(sets), list(datasets), list(scores)
        self.draws = draws

    def check(self, model: TrainedModel) -> None:
        need_images(model.data)
        need_energy(model)

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        test = model.data.split("test", self.n).x
        others = {name: others_of(name, test, model) for name in self.sets}
        others |= {name: images_from(name, model, len(test)) for name in self.datasets}
        results = {f"ood/{where}": x for where, x in others.items() if isinstance(x, Skip)}
        others = {where: x for where, x in others.items() if not isinstance(x, Skip)}
        for name in self.scores:
            score = SCORES[name](model)
            if isinstance(score, Skip):
                results[f"ood/*/{name}"] = score
                continue
            inside = score(test)
            for where, x in others.items():
                results |= rows(where, name, inside, score(x), self.draws)
        histogram(model, test, others)
        return results


def rows(where: str, name: str, inside: Tensor, outside: Tensor, draws: int) -> dict[str, Value]:
    """The five numbers of one score on one other set."""
    protocol = {"inside": f"test split ({len(inside)})", "outside": f"{where} ({len(outside)})", "score": name}
    n, prefix = len(inside) + len(outside), f"ood/{where}/{name}"
    area = auroc(inside, outside)
    values = {f"{prefix}/auroc": Value(area, auroc_error(area, len(inside), len(outside)), n, protocol)}
    for side, positive, negative in (("in", inside, outside), ("out", -outside, -inside)):
        errors = bootstrap(positive, negative, draws)
        details = protocol | {"positive": "test" if side == "in" else where, "bootstrap": draws}
        values[f"{prefix}/aupr_{side}"] = Value(average_precision(positive, negative), errors[0], n, details)
        values[f"{prefix}/fpr95_{side}"] = Value(fpr(positive, negative), errors[1], n, details | {"recall": 0.95})
    return values


# Numbers -----------------------------------------------------------------------------------------------------------


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Probability that a positive scores above a negative, ties counting one half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*labeled(positive, negative)))


def auroc_error(area: float, n_positive: int, n_negative: int) -> float:
    """Standard error of an AUROC (Hanley & McNeil 1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    extra = (n_positive - 1) * (q1 - area**2) + (n_negative - 1) * (q2 - area**2)
    return max(0.0, (area * (1 - area) + extra) / (n_positive * n_negative)) ** 0.5


def average_precision(positive: Tensor, negative: Tensor) -> float:
    """Area under the precision-recall curve, as the sum of precision over steps of recall."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*labeled(positive, negative)))


def bootstrap(positive: Tensor, negative: Tensor, draws: int, recall: float = 0.95) -> tuple[float, float]:
    """Standard errors of average precision and FPR95 when both sets are drawn anew, with replacement.

    All draws at once: a draw is a weight per example, and both numbers are sums over the sorted scores.
    """
    order = torch.cat([positive, negative]).argsort(descending=True, stable=True)
    scores = torch.cat([positive, negative])[order]
    last = torch.cat([scores[1:] != scores[:-1], torch.tensor([True])])  # of a group of ties
    weights = torch.cat([resampled(len(part), draws, seed) for seed, part in enumerate((positive, negative))], 1)[
        :, order
    ]
    is_positive = order < len(positive)
    hits = (weights * is_positive).cumsum(1)[:, last]
    false = (weights * ~is_positive).cumsum(1)[:, last]
    steps = torch.diff(hits, dim=1, prepend=torch.zeros(draws, 1)) / len(positive)
    precision = (steps * hits / (hits + false).clamp_min(1)).sum(1)
    reached = (hits >= recall * len(positive)).float().argmax(1, keepdim=True)
    accepted = false.gather(1, reached)[:, 0] / len(negative)
    return float(precision.std()), float(accepted.std())


def resampled(n: int, draws: int, seed: int) -> Tensor:
    """How often each of ``n`` examples is drawn, ``(draws, n)``."""
    chosen = torch.randint(n, (draws, n), generator=torch.Generator().manual_seed(seed))
    return torch.zeros(draws, n).scatter_add_(1, chosen, torch.ones(draws, n))


def fpr(positive: Tensor, negative: Tensor, recall: float = 0.95) -> float:
    """Share of negatives that score at least as high as the threshold which ``recall`` of the positives reach."""
    accepted = math.ceil(recall * len(positive))
    threshold = positive.sort(descending=True).values[accepted - 1]
    return float((negative >= threshold).double().mean())


def labeled(positive: Tensor, negative: Tensor):
    """Labels and scores of both sets for scikit-learn."""
    labels = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))])
    return labels.numpy(), torch.cat([positive, negative]).double().numpy()


# Scores: high for what the model takes to be of the data -------------------------------------------------------------


def energy_score(model: TrainedModel) -> Score:
    return lambda x: -energies(model.energy, x.to(model.device), chunk_size=CHUNK).cpu()


def grad_score(model: TrainedModel) -> Score:
    def score(x: Tensor) -> Tensor:
        grad = energy_and_grad(model.energy, x.to(model.device), chunk_size=CHUNK)[1]
        return -grad.flatten(1).norm(dim=1).cpu()

    return score


def softmax_score(model: TrainedModel) -> Score | Skip:
    try:
        class_probabilities(model, model.data.split("test", 2).x)
    except Skip as reason:
        return reason
    return lambda x: class_probabilities(model, x).max(1).values


def typicality_score(model: TrainedModel) -> Score:
    score = energy_score(model)
    typical = score(model.data.split("train", 5000).x).mean()
    return lambda x: -(score(x) - typical).abs()


def gaussian_score(model: TrainedModel) -> Score:
    gaussian = PixelGaussian(model.data.split("train").x)
    return lambda x: -gaussian.mahalanobis(x)


SCORES = {
    "energy": energy_score,
    "max_softmax": softmax_score,
    "grad_norm": grad_score,
    "typicality": typicality_score,
    "gaussian": gaussian_score,
}


# Images that are not of the data -------------------------------------------------------------------------------------


def uniform(test: Tensor, low: float, high: float, generator) -> Tensor:
    return low + (high - low) * torch.rand(test.shape, generator=generator)


def constant(test: Tensor, low: float, high: float, generator) -> Tensor:
    """One grey level or color per image."""
    return (low + (high - low) * torch.rand(*test.shape[:2], 1, 1, generator=generator)).expand_as(test).clone()


def shuffled(test: Tensor, low: float, high: float, generator) -> Tensor:
    """The pixels of every test image in another order, channels kept together."""
    order = torch.rand(len(test), 1, test[0, 0].numel(), generator=generator).argsort(2)
    return test.flatten(2).gather(2, order.expand(-1, test.shape[1], -1)).view_as(test)


SETS = {
    "noise": uniform,
    "constant": constant,
    "rot90": lambda test, low, high, generator: test.rot90(1, (2, 3)),
    "vflip": lambda test, low, high, generator: test.flip(2),
    "shuffled": shuffled,
    "inverted": lambda test, low, high, generator: low + high - test,
}


def others_of(name: str, test: Tensor, model: TrainedModel) -> Tensor | Skip:
    """One of SETS, made from the test images with randomness of its own."""
    if name == "rot90" and test.shape[2] != test.shape[3]:
        return Skip(f"images of {model.data.name} are not square, so they cannot be turned: leave rot90 out of sets")
    low, high = model.data.value_range or (float(test.min()), float(test.max()))
    return SETS[name](test, low, high, torch.Generator().manual_seed(model.seed))


def images_from(name: str, model: TrainedModel, n: int) -> Tensor | Skip:
    """Test images of another data set in the shape and range of this one, or why there are none."""
    try:
        other = build(OmegaConf.create(option_node("dataset", name)), f"dataset={name}")
        return model.data.borrowed(other, "test", n)
    except (ValueError, OSError) as error:
        return Skip(" ".join(str(error).split()))


def histogram(model: TrainedModel, test: Tensor, others: dict) -> None:
    """Draws the energies of test images and of the other sets side by side."""
    score = energy_score(model)
    groups = {"test": -score(test)} | {name: -score(x) for name, x in others.items()}
    plotting.energies(groups, model.directory / "ood.png")
