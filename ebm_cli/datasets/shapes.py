"""Rendered shapes whose attributes are independent concepts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.datasets.rendered import Rendered

CONCEPTS = {"shape": 3, "size": 2, "position": 4, "rotation": 4}


@dataclass(kw_only=True, eq=False)
class Shapes(Rendered):
    """Grey images ``(1, 16, 16)`` of one shape with four attributes; the labels are those of one ``concept``.

    An attribute is a number of equally frequent values: ``shape`` (triangle, half disc, L), ``size`` (small, large),
    ``position`` (quadrant of the center) and ``rotation`` (quarter turns; no shape is symmetric under them). Within
    its value each varies a little. Independent concepts, so that one energy per concept can be composed with others
    (Du et al. 2020).

    Args:
        concept: attribute that the labels give: shape, size, position or rotation.
        n_train, n_test: examples made.
        batch_size, steps_per_epoch, validation, value_range, dequantize, noise_std, clamp, seed: see
            ``DataModule``. Mirroring and cropping would change attributes.

    Raises:
        ValueError: for another concept, or for ``flip`` or ``crop``.
    """

    name = "shapes"
    shape = (1, 16, 16)

    concept: str = "shape"

    def __post_init__(self):
        super().__post_init__()
        if self.concept not in CONCEPTS:
            raise ValueError(f"concept must be one of {', '.join(CONCEPTS)}, got {self.concept!r}")
        if self.flip or self.crop:
            raise ValueError("dataset.flip and dataset.crop would change the attributes of shapes")
        self.n_classes = CONCEPTS[self.concept]
        self.class_names = [str(value) for value in range(self.n_classes)]

    def render(self, part, n, generator):
        attributes = {name: torch.randint(k, (n,), generator=generator) for name, k in CONCEPTS.items()}
        return drawn(attributes, generator), attributes[self.concept]

    def attributes(self, part: str) -> dict[str, Tensor]:
        """All attributes of the examples that ``load(part)`` gives, ``(N,)`` each."""
        generator = torch.Generator().manual_seed({"train": 1, "test": 2}[part])
        return {name: torch.randint(k, (self.sizes[part],), generator=generator) for name, k in CONCEPTS.items()}


def drawn(attributes: dict[str, Tensor], generator: torch.Generator, side: int = 16, fine: int = 4) -> Tensor:
    """Images ``(N, 1, side, side)`` of shapes with these attributes, uint8; ``fine`` points per pixel and axis."""
    n = len(attributes["shape"])
    jitter = 2 * torch.rand(4, n, generator=generator) - 1
    size = torch.tensor([0.26, 0.42])[attributes["size"]] * (1 + 0.08 * jitter[0])
    angle = (attributes["rotation"] + 0.12 * jitter[1]) * (math.pi / 2)
    row, column = attributes["position"] // 2, attributes["position"] % 2
    center = torch.stack([0.75 * column - 0.375 + 0.08 * jitter[2], 0.75 * row - 0.375 + 0.08 * jitter[3]], 1)
    pieces = zip(*(values.split(500) for values in (attributes["shape"], size, angle, center)), strict=True)
    return torch.cat([rasterized(*piece, side, fine) for piece in pieces])


def rasterized(shape: Tensor, size: Tensor, angle: Tensor, center: Tensor, side: int, fine: int) -> Tensor:
    """Grey levels of shapes of half-extent ``size`` on the square [-1, 1]^2, turned by ``angle`` about ``center``."""
    line = (torch.arange(side * fine) + 0.5) * 2 / (side * fine) - 1
    across, down = line[None, None, :] - center[:, 0, None, None], line[None, :, None] - center[:, 1, None, None]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    u = (across * cos + down * sin) / size[:, None, None]
    v = (down * cos - across * sin) / size[:, None, None]
    inside = torch.stack(
        [
            (v.abs() < 1) & (u.abs() < 0.5 * (v + 1)),  # triangle, tip up
            (u.square() + v.square() < 1.1) & (v > -0.1),  # lower half of a disc
            ((u.abs() < 0.85) & (v.abs() < 0.95)) & ((u < -0.2) | (v > 0.3)),  # L
        ]
    )[shape, torch.arange(len(shape))]
    pixels = inside.float().view(len(shape), 1, side, fine, side, fine).mean((3, 5))
    return (255 * pixels).round().to(torch.uint8)
