"""Images that are not of the data: noise, disturbed test images, and those of other data sets."""

from __future__ import annotations

import torch
from omegaconf import OmegaConf
from torch import Tensor

from ebm_cli.config import build, option_node
from ebm_cli.metrics.metric import Skip
from ebm_cli.runs.trained import TrainedModel


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


def make_others(name: str, test: Tensor, model: TrainedModel) -> Tensor | Skip:
    """One of SETS, made from the test images with randomness of its own."""
    if name == "rot90" and test.shape[2] != test.shape[3]:
        return Skip(f"images of {model.data.name} are not square, so they cannot be turned: leave rot90 out of sets")
    low, high = model.data.value_range or (float(test.min()), float(test.max()))
    return SETS[name](test, low, high, torch.Generator().manual_seed(model.seed))


def load_from(name: str, model: TrainedModel, n: int) -> Tensor | Skip:
    """Test images of another data set in the shape and range of this one, or why there are none."""
    try:
        other = build(OmegaConf.create(option_node("dataset", name)), f"dataset={name}")
        return model.data.borrowed(other, "test", n)
    except (ValueError, OSError) as error:
        return Skip(" ".join(str(error).split()))
