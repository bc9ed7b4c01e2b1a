"""nearest: are samples copies of training images? Distances to the nearest one, in pixels and in features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.metrics.metric import Skip, Value, need_images
from ebm_cli.metrics.reference_classifier import load_or_train_reference
from ebm_cli.metrics.sampled import Repeated, origin
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.utils import plotting

SHOWN = 10


@dataclass(kw_only=True, eq=False)
class Nearest(Repeated):
    """Distance of samples to the nearest training image over that of test images, in pixels and in features.

    About 1 is right, well below 1 means copies, well above 1 means that samples are off the data. ``copies`` is the
    share of samples that are nearer to a training image than all but 1 % of the test images. Written too:
    ``nearest.png``, samples above their nearest training images, the most suspicious first.

    Args:
        n: samples, at most as many as the test split and the given samples have; null takes that many.
        repeats: sampling seeds, whose samples are pooled.
        flips: count the mirror images of the training images as training images.
    """

    n: int | None = 1000
    flips: bool = False

    def check(self, model: TrainedModel) -> None:
        need_images(model.data)

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        n, data = self.count(model), model.data
        x, test = torch.cat(self.sets(model, n)), data.split("test", n).x
        train = data.split("train").x
        train = torch.cat([train, train.flip(-1)]) if self.flips else train
        protocol = origin(model) | {"reference": f"train split ({len(train)}{', with flips' if self.flips else ''})"}
        distances, where = find_nearest(x, train)
        suspects = distances.argsort()[:SHOWN]
        pairs = torch.cat([x[suspects], train[where[suspects]]])
        plotting.grid(pairs, data.value_range, model.directory / "nearest.png", columns=len(suspects))
        values = compare(distances, find_nearest(test, train)[0], "pixel", protocol)
        if not data.n_classes:
            return values | {"nearest/feature": Skip(f"{data.name} has no labels to train a network of features on")}
        features = [load_or_train_reference(data).classify(part)[0] for part in (x, test, train)]
        found = [find_nearest(part, features[2])[0] for part in features[:2]]
        return values | compare(*found, "feature", protocol | {"features": "classifier of this data set"})


def find_nearest(x: Tensor, train: Tensor, chunk: int = 500) -> tuple[Tensor, Tensor]:
    """Euclidean distance ``(N,)`` of every input to the nearest training one, and which that is ``(N,)``."""
    flat = train.flatten(1)
    found = [torch.cdist(part.flatten(1), flat).min(1) for part in x.split(chunk)]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


def compare(samples: Tensor, test: Tensor, space: str, protocol: dict) -> dict[str, Value]:
    """Ratio of mean distances with its standard error (delta method), and the share of suspected copies."""
    samples, test = samples.double(), test.double()
    ratio = float(samples.mean() / test.mean())
    spread = sum(float(d.var() / (len(d) * d.mean().square())) for d in (samples, test) if d.mean() > 0)
    share = float((samples < test.quantile(0.01)).double().mean())
    n, protocol = len(samples), protocol | {"test_images": len(test)}
    return {
        f"nearest/{space}/ratio": Value(ratio, ratio * spread**0.5, n, protocol),
        f"nearest/{space}/copies": Value(share, (share * (1 - share) / n) ** 0.5, n, protocol),
    }
