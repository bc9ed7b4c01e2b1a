"""modes: how many modes samples have, counted by a classifier; on stacked digits, one digit per channel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ebm_cli.config import ConfigError, build, option_node
from ebm_cli.metrics.metric import Skip, Value, need_images, need_labels
from ebm_cli.metrics.reference_classifier import load_or_train_reference
from ebm_cli.metrics.sampled import Sampled, origin
from ebm_cli.runs.trained import TrainedModel


@dataclass(kw_only=True, eq=False)
class Modes(Sampled):
    """Number of modes found, and KL(samples || training images) over modes, in nats (Metz et al. 2017).

    A mode is a class, or, where a classifier of grey images is named and images have C channels, one class per channel:
    1000 modes for three digits. Both sides are counted by the same classifier, so that its errors cancel; a mode
    without training images counts as one image.

    Args:
        n: samples; null takes as many as the test split has. The literature takes 26000 for 1000 modes.
        classifier: option of the group ``dataset`` whose classifier looks at every channel, such as ``mnist``; null
            takes the data set's own classes.
        n_reference: training images that are counted, at most.
    """

    classifier: str | None = None
    n_reference: int = 60_000

    def check(self, model: TrainedModel) -> None:
        need_images(model.data)
        need_labels(self.labeled(model))

    def labeled(self, model: TrainedModel):
        """The data set whose classifier counts."""
        if self.classifier is None:
            return model.data
        try:
            return build(OmegaConf.create(option_node("dataset", self.classifier)), f"dataset={self.classifier}")
        except (ConfigError, OSError) as reason:
            raise Skip(f"classifier={self.classifier}: {reason}") from reason

    def count(self, model: TrainedModel) -> int:
        there = len(model.data.split("test").x) if model.samples is None else len(model.samples.x)
        return there if self.n is None else min(self.n, there) if model.samples is not None else self.n

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        data, labeled, n = model.data, self.labeled(model), self.count(model)
        reference, channels = load_or_train_reference(labeled), data.shape[0] if self.classifier else 1
        if self.classifier and tuple(labeled.shape) != (1, *data.shape[1:]):
            raise Skip(f"classifier={self.classifier} looks at {labeled.shape}, channels here are {data.shape[1:]}")

        def modes(x: Tensor) -> Tensor:
            parts = x.flatten(0, 1)[:, None] if self.classifier else x
            return encode(
                reference.classify(rescaled(parts, data, labeled))[1].argmax(1).view(-1, channels), labeled.n_classes
            )

        of = labeled.n_classes**channels
        found = torch.bincount(modes(self.drawn(model, n)), minlength=of)
        real = torch.bincount(modes(data.split("train", self.n_reference).x), minlength=of)
        protocol = origin(model) | {
            "of": of,
            "classifier": self.classifier or data.name,
            "reference": int(real.sum()),
        }
        return {
            "modes/found": Value(float((found > 0).sum()), None, n, protocol),
            "modes/kl": Value(
                kl_divergence(found, real), None, n, protocol | {"direction": "KL(samples || train), nats"}
            ),
        }


def encode(classes: Tensor, n_classes: int) -> Tensor:
    """One number per row of classes ``(N, C)``, the first channel leading.

    Example:
        >>> encode(torch.tensor([[3, 0, 7]]), 10).tolist()
        [307]
    """
    weights = n_classes ** torch.arange(classes.shape[1]).flip(0)
    return (classes * weights).sum(1)


def kl_divergence(found: Tensor, real: Tensor) -> float:
    """``sum q log(q / p)`` of counts; a mode that the reference lacks counts as one of its images."""
    q, p = found.double() / found.sum(), real.clamp_min(1).double() / real.clamp_min(1).sum()
    return float(torch.special.xlogy(q, q / p).sum())


def rescaled(x: Tensor, data, other) -> Tensor:
    """Images from the value range of one data set in that of another."""
    (low, high), (other_low, other_high) = data.value_range, other.value_range
    return other_low + (x - low) * ((other_high - other_low) / (high - low))
