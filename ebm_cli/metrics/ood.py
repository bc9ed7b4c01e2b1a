"""ood: how well scores of the model tell test images from images that are not of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from ebm_cli.energies.energy import energies, energy_and_grad
from ebm_cli.metrics.classifier import class_probabilities
from ebm_cli.metrics.detection import auroc, auroc_error, average_precision, bootstrap, fpr
from ebm_cli.metrics.frechet import PixelGaussian
from ebm_cli.metrics.metric import Metric, Skip, Value, need_energy, need_images
from ebm_cli.metrics.ood_images import SETS, load_from, make_others
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.utils import plotting

CHUNK = 500
Score = Callable[[Tensor], Tensor]


@dataclass(kw_only=True, eq=False)
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

    n: int | None = 1000
    sets: list[str] = ("noise", "constant", "rot90", "vflip", "shuffled", "inverted")
    datasets: list[str] = ()
    scores: list[str] = ("energy", "max_softmax", "grad_norm", "typicality", "gaussian")
    draws: int = 200

    def __post_init__(self):
        for name, given, known in (("sets", self.sets, SETS), ("scores", self.scores, SCORES)):
            for choice in given:
                if choice not in known:
                    raise ValueError(f"{name}: {choice!r} is unknown; choose from {', '.join(known)}")
        if self.n is not None and self.n < 2:
            raise ValueError(f"n must be at least 2, or null for the whole test split, got {self.n}")
        if self.draws < 2:
            raise ValueError(f"draws must be at least 2, got {self.draws}")

    def check(self, model: TrainedModel) -> None:
        need_images(model.data)
        need_energy(model)

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        test = model.data.split("test", self.n).x
        others = {name: make_others(name, test, model) for name in self.sets}
        others |= {name: load_from(name, model, len(test)) for name in self.datasets}
        results = {f"ood/{where}": x for where, x in others.items() if isinstance(x, Skip)}
        others = {where: x for where, x in others.items() if not isinstance(x, Skip)}
        for name in self.scores:
            score = SCORES[name](model)
            if isinstance(score, Skip):
                results[f"ood/*/{name}"] = score
                continue
            inside = score(test)
            for where, x in others.items():
                results |= compare(where, name, inside, score(x), self.draws)
        draw_histogram(model, test, others)
        return results


def compare(where: str, name: str, inside: Tensor, outside: Tensor, draws: int) -> dict[str, Value]:
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


def draw_histogram(model: TrainedModel, test: Tensor, others: dict) -> None:
    """Draws the energies of test images and of the other sets side by side."""
    score = energy_score(model)
    groups = {"test": -score(test)} | {name: -score(x) for name, x in others.items()}
    plotting.energies(groups, model.directory / "ood.png")
