"""Data sets drawn by a program: their attributes are known exactly, and they need no files."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.datasets.datamodule import DataModule
from ebm_cli.datasets.digits import Digits


@dataclass(kw_only=True, eq=False)
class Rendered(DataModule):
    """Base of the rendered sets: the draws of each split are the same for every ``seed``. Subclasses ``render``.

    Args:
        n_train, n_test: examples made; ``validation`` is cut from the first.
        batch_size, steps_per_epoch, value_range, validation, seed, ...: see ``DataModule``.
    """

    batch_size: int = 64
    steps_per_epoch: int | None = 100
    value_range: list[float] | None = (-1.0, 1.0)
    n_train: int = 20_000
    n_test: int = 2000

    def __post_init__(self):
        super().__post_init__()
        self.sizes = {"train": self.n_train, "test": self.n_test}

    def load(self, part):
        generator = torch.Generator().manual_seed({"train": 1, "test": 2}[part])
        return self.render(part, self.sizes[part], generator)

    @abc.abstractmethod
    def render(self, part: str, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``n`` examples, uint8 ``(n, *shape)``, and their labels."""


class MovingDigits(Rendered):
    """Clips ``(1, 8, 16, 16)`` of one of scikit-learn's digits that moves straight on and bounces off the borders.

    Args: see ``Rendered``.
    """

    name = "moving_digits"
    shape = (1, 8, 16, 16)
    n_classes = 10
    class_names = Digits.class_names
    levels = Digits.levels

    def render(self, part, n, generator):
        digits, labels = Digits().part(part)
        chosen = torch.randint(len(digits), (n,), generator=generator)
        start = 8 * torch.rand(n, 2, generator=generator)
        velocity = 4 * torch.rand(n, 2, generator=generator) - 2
        frame = torch.arange(self.shape[1])[:, None]
        folded = (start[:, None] + velocity[:, None] * frame) % 16  # a path without borders, then folded back
        corner = torch.where(folded > 8, 16 - folded, folded).round().long()
        clips = torch.zeros(n, *self.shape, dtype=torch.uint8)
        index = torch.arange(8)
        rows, columns = corner[..., :1] + index, corner[..., 1:] + index
        clip, time = torch.arange(n)[:, None, None, None], torch.arange(self.shape[1])[:, None, None]
        clips[clip, 0, time, rows[..., None], columns[:, :, None]] = digits[chosen, 0][:, None]
        return clips, labels[chosen]


class Voxels(Rendered):
    """Solids ``(1, 16, 16, 16)``: ball, box, cylinder, cone and ring, of any orientation, size and place.

    Args: see ``Rendered``.
    """

    name = "voxels"
    shape = (1, 16, 16, 16)
    n_classes = 5
    class_names = ["ball", "box", "cylinder", "cone", "ring"]

    def render(self, part, n, generator):
        labels = torch.arange(n) % self.n_classes
        turn = torch.linalg.qr(torch.randn(n, 3, 3, generator=generator))[0]
        place = 0.2 * (2 * torch.rand(n, 3, generator=generator) - 1)
        size = 0.45 + 0.2 * torch.rand(n, generator=generator)
        pieces = zip(*(values.split(500) for values in (labels, turn, place, size)), strict=True)
        return torch.cat([solids(*piece) for piece in pieces]), labels


def solids(labels: Tensor, turn: Tensor, place: Tensor, size: Tensor) -> Tensor:
    """Occupancies ``(B, 1, 16, 16, 16)`` as grey levels, smooth over half a voxel at the surface."""
    line = (torch.arange(16) + 0.5) / 8 - 1
    points = torch.cartesian_prod(line, line, line)
    u, v, w = (((points - place[:, None]) @ turn) / size[:, None, None]).unbind(2)
    radius = torch.hypot(u, v)
    distances = torch.stack(
        [
            (u**2 + v**2 + w**2).sqrt() - 1,
            torch.stack([u.abs() - 0.8, v.abs() - 0.8, w.abs() - 0.8]).amax(0),
            torch.maximum(radius - 0.6, w.abs() - 1),
            torch.maximum(radius - 0.45 * (1 - w), w.abs() - 1),
            torch.hypot(radius - 0.75, w) - 0.3,
        ]
    )
    inside = distances[labels, torch.arange(len(labels))]  # negative inside, in units of the size
    return (255 * torch.sigmoid(-inside * size[:, None] * 40)).round().to(torch.uint8).view(-1, 1, 16, 16, 16)
