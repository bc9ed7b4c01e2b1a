"""fd_classifier: how far samples are from the data in the features of a small classifier, and three sanity checks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.metrics.frechet import PixelGaussian, frechet_distance
from ebm_cli.metrics.metric import Skip, Value, need_images, need_labels
from ebm_cli.metrics.nearest import find_nearest
from ebm_cli.metrics.reference_classifier import RECIPE, ReferenceClassifier, load_or_train_reference, weights_hash
from ebm_cli.metrics.sampled import Repeated, average, origin
from ebm_cli.runs.trained import TrainedModel, kept_chains
from ebm_cli.samplers import DivergenceError
from ebm_cli.utils import plotting


@dataclass(kw_only=True, eq=False)
class FDClassifier(Repeated):
    """Frechet distance to the train split on features of a classifier of the same data; never to be called FID.

    ``fd_classifier/test`` (the floor) and ``fd_classifier/gaussian`` (full-covariance Gaussian of the pixels, the
    baseline) are made with the same number of images, and ``fd_classifier/q`` places the samples between them: 0 is
    as good as test images, 1 as poor as the Gaussian. ``nn_ratio`` is the mean pixel distance to the nearest training
    image over that of test images (well below 1 means copies), ``classes`` counts classes that get at least a quarter
    of their share, and ``entropy`` is that of the predicted classes in nats. ``kept`` is the distance of the chains
    that the checkpoint keeps: far below that of the samples, fresh chains do not reach what training goes on with.

    Args:
        n: images in each set, at most as many as the test split and the given samples have; null takes that many.
        repeats: sampling seeds to average over, and draws of the Gaussian; their spread gives the standard error.
        long_run: also measure chains that many times longer than the default; null skips this.
    """

    repeats: int = 3
    long_run: float | None = 5.0

    def __post_init__(self):
        super().__post_init__()
        if self.long_run is not None and self.long_run <= 0:
            raise ValueError(f"long_run must be above 0, or null, got {self.long_run}")

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        need_images(model.data)
        need_labels(model.data)
        n = self.count(model)
        comparison = Comparison(model.data, n)
        sets = self.sets(model, n)
        plotting.grid(sets[0][:64], model.data.value_range, model.directory / "samples.png")
        protocol = comparison.protocol | origin(model)
        rows = [comparison.measure(x) for x in sets]
        values = {key: average([row[key] for row in rows], n, protocol) for key in rows[0]}
        values["gaussian"] = average(
            [comparison.gaussian(seed) for seed in range(self.repeats)], n, comparison.protocol
        )
        values["test"] = Value(comparison.test, None, n, comparison.protocol)
        values["q"] = quotient(values["fd"], comparison.test, values["gaussian"])
        if self.long_run and model.samples is None:
            values["long_run"] = self.drifted(model, comparison, n)
        kept = kept_chains(model) if model.samples is None else None
        if kept is not None:
            values["kept"] = self.of_kept(kept, comparison, n)
        return {"fd_classifier": values.pop("fd")} | {f"fd_classifier/{key}": value for key, value in values.items()}

    def of_kept(self, kept: Tensor, comparison: Comparison, n: int) -> Value | Skip:
        """Distance of the chains that training keeps, the same number of them."""
        if len(kept) < n:
            return Skip(f"the checkpoint keeps {len(kept)} chains, fewer than the {n} of every set: metric.*.n")
        return Value(comparison.distance(kept[:n]), None, n, comparison.protocol | {"n_steps": "those of training"})

    def drifted(self, model: TrainedModel, comparison: Comparison, n: int) -> Value | Skip:
        """Distance of chains ``long_run`` times longer than the default."""
        n_steps = round(self.long_run * model.n_steps)
        protocol = comparison.protocol | {"n_steps": n_steps}
        try:
            distances = [comparison.distance(part.draw(n, n_steps).x) for part in self.parts(model)]
        except DivergenceError as error:
            return Skip(f"chains of {n_steps} steps diverge ({error}): lower sampler.step_size, or metric.*.long_run")
        return average(distances, n, protocol)


class Comparison:
    """Everything of a data set that samples are compared with.

    Args:
        data: the DataModule.
        n: images in every set that is compared with the train split.
    """

    def __init__(self, data, n: int):
        self.train, test = data.split("train").x, data.split("test", n).x
        self.classifier: ReferenceClassifier = load_or_train_reference(data)
        self.n = n
        self.features, self.shares = self.classify(self.train)
        self.test, self.test_distance = self.distance(test), find_nearest(test, self.train)[0].mean()
        self.pixels = PixelGaussian(self.train)
        accuracy = (self.classifier.classify(test)[1].argmax(1) == data.split("test", n).y).double().mean()
        self.protocol = {
            "features": f"classifier of this data set ({RECIPE})",
            "weights_sha256": weights_hash(self.classifier),
            "classifier_test_accuracy": round(float(accuracy), 4),
            "reference": f"train split ({len(self.train)})",
            "gaussian": "full covariance of training pixels",
        }

    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(N, 64)``, and the share ``(K,)`` of images that the classifier puts in each class."""
        features, probabilities = self.classifier.classify(x)
        return features, torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1]).double() / len(x)

    def distance(self, x: Tensor) -> float:
        """Frechet distance of images to the train split."""
        return frechet_distance(self.classifier.classify(x)[0], self.features)

    def measure(self, x: Tensor) -> dict[str, float]:
        """All numbers of one set of samples ``(n, *shape)``."""
        features, shares = self.classify(x)
        return {
            "fd": frechet_distance(features, self.features),
            "nn_ratio": float(find_nearest(x, self.train)[0].mean() / self.test_distance),
            "classes": float(((shares >= self.shares / 4) & (shares > 0)).sum()),
            "entropy": float(torch.special.entr(shares).sum()),
        }

    def gaussian(self, seed: int) -> float:
        """Distance of ``n`` draws of the pixels' full-covariance Gaussian."""
        return self.distance(self.pixels.sample(self.n, torch.Generator().manual_seed(seed)))


def quotient(fd: Value, test: float, gaussian: Value) -> Value:
    """``(FD - FD_test) / (FD_gaussian - FD_test)``, with the sampling error of its numerator."""
    span = gaussian.value - test
    stderr = None if fd.stderr is None else fd.stderr / abs(span)
    return Value(
        (fd.value - test) / span, stderr, fd.n, fd.protocol | {"formula": "(FD-FD_test)/(FD_gaussian-FD_test)"}
    )
