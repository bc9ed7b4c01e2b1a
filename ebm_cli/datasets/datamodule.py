"""The one DataModule: splits that never mix, short epochs of shuffled batches, and noise made on the device."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ebm_cli.models.energy import REAL, Support, box

SPLITS = ("train", "validation", "test")


class Batch(NamedTuple):
    """Inputs ``x`` ``(B, *shape)`` and labels ``y`` ``(B,)``, or None for data without labels."""

    x: Tensor
    y: Tensor | None = None


class DataModule(pl.LightningDataModule):
    """Base of all data sets. A subclass says what it is and implements ``load(split)``.

    Args:
        batch_size: per process.
        steps_per_epoch: updates that make an epoch, over as many shuffles as it takes; null for one pass.
        validation: how much of the training data is held out: a share below 1, or a number.
        value_range: [low, high] that images are brought to; null for vectors.
        dequantise: add uniform noise of one grey level, so that 8-bit images have a density.
        noise_std: Gaussian noise added to training batches, in the units of the data.
        flip: mirror training images left to right at random.
        workers: processes that decode files; 0 decodes in this one.
        recipe: what trains well on this data; other options read it by interpolation.
        seed: of the validation split and of the order of batches.

    Attributes:
        name, shape, n_classes, class_names: what the data are; ``n_classes`` is None without labels.
    """

    name = ""
    shape: tuple[int, ...] = ()
    n_classes: int | None = None
    class_names: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        batch_size: int = 64,
        steps_per_epoch: int | None = None,
        validation: float = 0.1,
        value_range=None,
        dequantise: bool = False,
        noise_std: float = 0.0,
        flip: bool = False,
        workers: int = 0,
        recipe: dict | None = None,
        seed: int = 0,
    ):
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if value_range is not None and not value_range[0] < value_range[1]:
            raise ValueError(f"value_range must be [low, high], got {value_range}")
        self.batch_size, self.steps_per_epoch, self.validation = batch_size, steps_per_epoch, validation
        self.value_range = None if value_range is None else tuple(float(v) for v in value_range)
        self.dequantise, self.noise_std, self.flip = dequantise, noise_std, flip
        self.workers, self.recipe, self.seed = workers, dict(recipe or {}), seed
        self.loaded: dict[str, Batch] = {}

    # What a data set says of itself ---------------------------------------------------------------------------

    def load(self, split: str) -> Batch:
        """Everything of ``train`` (before validation is cut off) or ``test``: uint8 images or float vectors."""
        raise TypeError(f"{type(self).__name__} does not define load(split)")

    @property
    def support(self) -> Support:
        """The box of the value range for images, all of space for vectors."""
        return REAL if self.value_range is None else box(*self.value_range)

    # What others ask it ---------------------------------------------------------------------------------------

    def raw(self, split: str) -> Batch:
        """A split as it is stored: uint8 or float."""
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        if split not in self.loaded:
            if split == "test":
                self.loaded["test"] = self.load("test")
            else:
                self.loaded |= self.hold_out(self.load("train"))
        return self.loaded[split]

    def hold_out(self, everything: Batch) -> dict[str, Batch]:
        """Training and validation parts, drawn by the seed 0 whatever the run's, so that no run sees the other part."""
        n = len(everything.x)
        held = round(self.validation * n) if self.validation < 1 else int(self.validation)
        if not 0 <= held < n:
            raise ValueError(f"validation={self.validation} leaves no training data of {n}")
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        parts = {"validation": order[:held], "train": order[held:]}
        return {k: Batch(everything.x[i], None if everything.y is None else everything.y[i]) for k, i in parts.items()}

    def split(self, name: str) -> Batch:
        """A whole split, clean: ``x`` float32 ``(N, *shape)`` in the value range, ``y`` or None."""
        x, y = self.raw(name)
        return Batch(self.to_range(x), y)

    def draw(self, n: int, generator: torch.Generator | None = None) -> Batch:
        """``n`` training examples at random, clean."""
        x, y = self.raw("train")
        device = torch.device("cpu") if generator is None else generator.device
        index = torch.randint(len(x), (n,), generator=generator, device=device).cpu()
        return Batch(self.to_range(x[index]), None if y is None else y[index])

    def to_range(self, x: Tensor) -> Tensor:
        """uint8 images as float32 in the value range; floats as they are."""
        if x.dtype != torch.uint8:
            return x
        low, high = self.value_range
        return x.float().mul_((high - low) / 255).add_(low)

    # What Lightning asks it -----------------------------------------------------------------------------------

    def train_dataloader(self) -> DataLoader:
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        data = Rows(self.raw("train"))
        batches = EpochBatches(len(data), self.batch_size, self.steps_per_epoch, self.seed, rank, world)
        return DataLoader(data, sampler=batches, batch_size=None, num_workers=self.workers)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """On the device: the value range, and in training dequantisation, flips and noise."""
        x, y = batch
        low_bits = x.dtype == torch.uint8
        x = self.to_range(x)
        if self.trainer.training:
            x = self.augmented(x, low_bits)
        return Batch(x, y)

    def augmented(self, x: Tensor, low_bits: bool) -> Tensor:
        """Training noise, from torch's global generator of the device."""
        if self.dequantise and low_bits:
            low, high = self.value_range
            level = (high - low) / 256
            x = (x - low) * (255 / 256) + low + level * torch.rand_like(x)
        if self.flip:
            mirrored = torch.rand(len(x), device=x.device) < 0.5
            x = torch.where(mirrored.view(-1, *[1] * (x.ndim - 1)), x.flip(-1), x)
        return x + self.noise_std * torch.randn_like(x) if self.noise_std else x


class Rows:
    """A split indexed by tensors of row numbers: one lookup per batch."""

    def __init__(self, batch: Batch):
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch.x)

    def __getitem__(self, index: Tensor) -> Batch:
        x, y = self.batch
        return Batch(x[index], None if y is None else y[index])


class EpochBatches:
    """Index tensors of one epoch: a function of (seed, epoch) alone, dealt out to the ranks without overlap.

    Args:
        n: rows in the split.
        batch_size: rows per batch and rank.
        steps: batches per epoch; None for one pass.
        seed, rank, world: whose batches these are.
    """

    def __init__(self, n: int, batch_size: int, steps: int | None, seed: int, rank: int = 0, world: int = 1):
        if steps is None and n < batch_size * world:
            raise ValueError(f"batch_size={batch_size} on {world} devices is more than the {n} training rows")
        self.n, self.batch_size, self.seed, self.rank, self.world = n, batch_size, seed, rank, world
        self.steps = steps or n // (batch_size * world)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self):
        generator = torch.Generator().manual_seed(100_003 * self.seed + self.epoch)
        wanted = self.steps * self.batch_size * self.world
        shuffles = [torch.randperm(self.n, generator=generator) for _ in range(math.ceil(wanted / self.n))]
        yield from torch.cat(shuffles)[:wanted].view(self.steps, self.world, self.batch_size)[:, self.rank]
