"""The one data module: splits that never mix, batches that seed and epoch decide, values in the requested range."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ebm_cli.datasets.augment import mirrored, shifted
from ebm_cli.datasets.batches import Batch, Rows, ShuffledBatches, count_of, cut, hidden, portion
from ebm_cli.datasets.resize import resized
from ebm_cli.energies import REAL, Support, box

N_VALIDATION = 500  # examples of the validation batch: enough to compare epochs by, and no matter of time
SPLIT_SEED = 0  # not the seed of the run: an evaluation under another seed must find the same splits


def fixed(value=None):
    """A field that a data set sets itself: of the base class's keywords one that it does not take."""
    return field(init=False, default=value)


class Split(NamedTuple):
    """Clean examples ``(N, *shape)``, float32 in the value range, and labels ``(N,)`` or None."""

    x: Tensor
    y: Tensor | None


@dataclass(kw_only=True, eq=False)
class DataModule(pl.LightningDataModule, abc.ABC):
    """Base of all data sets. A subclass says what the data are (the attributes below) and implements ``load``.

    Keyword arguments are dataclass fields, which a subclass inherits: a new data set is these lines and a YAML file.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(kw_only=True, eq=False)
        ... class Stripes(DataModule):
        ...     name, shape = "stripes", (1, 4, 4)
        ...     n: int = 100
        ...
        ...     def load(self, part):
        ...         return (torch.arange(self.n * 16) % 2 * 255).to(torch.uint8).view(-1, 1, 4, 4), None
        >>> data = Stripes(value_range=[-1, 1], batch_size=8, steps_per_epoch=2)
        >>> data.split("validation").x.shape
        torch.Size([10, 1, 4, 4])
        >>> [batch.x.dtype for batch in data.train_dataloader()]
        [torch.uint8, torch.uint8]

    uint8 examples stay uint8 until they are on the device, where training batches are converted, dequantized, flipped
    and given noise, all from torch's global generator of that device. Everything else sees clean examples.

    Args:
        batch_size: examples per update and process.
        steps_per_epoch: batches per epoch, drawn from successive shuffles; null is one pass over the data.
        workers: processes that prepare batches; worth it only where images are decoded from files.
        value_range: ``[low, high]`` that grey levels are mapped to, and the support of the data; null for data on all
            of R^d, which are taken as they are.
        dequantize: add uniform noise one grey level wide to training batches, ``(x + u) / levels``.
        noise_std: Gaussian noise added to training batches, in units of the value range.
        clamp: keep noisy training batches inside the value range.
        flip: mirror training images left to right with probability 1/2.
        crop: crop training images at random after adding so many reflected pixels on every side; 0 does not.
        validation: examples cut from the training part for validation, classes in proportion: a number (>= 1) or a
            share (< 1). The choice is fixed, whatever the seed.
        labeled: training examples whose labels training sees, classes in proportion; the others have the label -1.
            None is all.
        seed: of the order of the batches.

    Attributes:
        name: how runs and tables call the data.
        shape: of one example.
        n_classes: number of labels, or None; ``class_names`` are their names.
        levels: grey levels of integer data.
        scaling: between the units of the user's vectors and the model's, or None where they are the same.
        density: that the data come from, where it is known.
        paths: keywords that name files or folders: runs keep them as absolute paths.
    """

    name: ClassVar[str] = "data"
    shape: ClassVar[tuple[int, ...]]
    n_classes: ClassVar[int | None] = None
    class_names: ClassVar[list[str] | None] = None
    scaling = None
    density = None  # not annotated: toys have a keyword of this name
    paths: ClassVar[tuple[str, ...]] = ()
    levels: ClassVar[int] = 256

    batch_size: int = 128
    steps_per_epoch: int | None = None
    workers: int = 0
    value_range: list[float] | None = None
    dequantize: bool = False
    noise_std: float = 0.0
    clamp: bool = False
    flip: bool = False
    crop: int = 0
    validation: float = 0.1
    labeled: int | None = None
    seed: int = 0

    def __post_init__(self):
        super().__init__()  # Lightning's
        check(self.batch_size, self.steps_per_epoch, self.labeled, self.value_range, self.noise_std)
        self.value_range = None if self.value_range is None else tuple(float(v) for v in self.value_range)
        self.parts: dict[str, tuple] = {}

    @abc.abstractmethod
    def load(self, part: str) -> tuple[Tensor, Tensor | None]:
        """All examples of ``part``, ``train`` (which validation is cut from) or ``test``, and their labels or None.

        Examples are uint8 grey levels, or float32 in the value range already; instead of a tensor, anything will do
        that has a length and that an index tensor picks a tensor of examples out of.
        """

    @property
    def support(self) -> Support:
        return REAL if self.value_range is None else box(*self.value_range)

    # The splits -----------------------------------------------------------------------------------------------

    def part(self, name: str):
        """What ``load`` gives for ``train`` or ``test``, loaded once."""
        if name not in self.parts:
            self.parts[name] = self.load(name)
        return self.parts[name]

    def rows(self, split: str) -> Rows:
        """The raw examples of ``train``, ``validation`` or ``test``.

        Raises:
            ValueError: for another name.
        """
        if split not in ("train", "validation", "test"):
            raise ValueError(f"split must be train, validation or test, got {split!r}")
        x, y = self.part("test" if split == "test" else "train")
        if split == "test":
            return Rows(x, y, torch.arange(len(x)))
        size = count_of(self.validation, len(x), "dataset.validation")
        train, validation = cut(y, len(x), size, SPLIT_SEED)
        return Rows(x, y, train if split == "train" else validation)

    def split(self, name: str, n: int | None = None) -> Split:
        """The clean examples of a split, or at most ``n`` of them, classes in proportion and always the same."""
        return self.some(self.rows(name), n)

    def examples(self, n: int) -> Split:
        """At most ``n`` clean training examples, with the labels that training sees."""
        return self.some(self.training_rows, n)

    def some(self, rows: Rows, n: int | None) -> Split:
        """Clean examples of ``rows``, at most ``n`` of them."""
        index = torch.arange(len(rows))
        if n is not None and n < len(rows):
            index = portion(None if rows.y is None else rows.y[rows.index], len(rows), n, SPLIT_SEED)
        x, y = rows[index]
        return Split(self.clean(x), y)

    def draw(self, n: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor | None]:
        """``n`` random training examples without training noise, with replacement, and their labels."""
        rows = self.training_rows
        device = "cpu" if generator is None else generator.device
        x, y = rows[torch.randint(len(rows), (n,), generator=generator, device=device).cpu()]
        return self.clean(x), y

    @cached_property
    def training_rows(self) -> Rows:
        """The rows of ``train``, all but ``labeled`` of them with the label -1."""
        rows = self.rows("train")
        return rows if self.labeled is None else hidden(rows, self.labeled, SPLIT_SEED)

    def borrowed(self, other: DataModule, split: str = "test", n: int | None = None) -> Tensor:
        """Examples of another image data set in the shape and value range of this one, ``(N, *shape)``."""
        x = resized(other.split(split, n).x, self.shape)
        (low, high), (other_low, other_high) = self.value_range, other.value_range
        return low + (x - other_low) * ((high - low) / (other_high - other_low))

    # Values ---------------------------------------------------------------------------------------------------

    def clean(self, x: Tensor) -> Tensor:
        """Grey levels mapped to the value range, the darkest to its lower and the brightest to its upper end."""
        if x.dtype != torch.uint8:
            return x
        low, high = self.grey_range()
        return low + x.float() * ((high - low) / (self.levels - 1))

    def augmented(self, x: Tensor) -> Tensor:
        """A training batch as the objective sees it: dequantized, shifted, mirrored, noisy."""
        if self.dequantize and x.dtype == torch.uint8:
            low, high = self.grey_range()
            x = low + (x.float() + torch.rand(x.shape, device=x.device)) * ((high - low) / self.levels)
        x = self.clean(x)
        x = shifted(x, self.crop) if self.crop else x
        x = mirrored(x) if self.flip else x
        if self.noise_std:
            x = x + self.noise_std * torch.randn_like(x)
        return x.clamp(*self.value_range) if self.clamp and self.value_range else x

    def restored(self, x: Tensor) -> Tensor:
        """Inputs of the model in the units that the user's data have."""
        return x if self.scaling is None else self.scaling.outside(x)

    def grey_range(self) -> tuple[float, float]:
        if self.value_range is None:
            raise ValueError(f"dataset.value_range must be [low, high] for the grey levels of {self.name}, got null")
        return self.value_range

    # What Lightning calls -------------------------------------------------------------------------------------

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        training = self.trainer is not None and self.trainer.training
        return batch._replace(x=self.augmented(batch.x) if training else self.clean(batch.x))

    def train_dataloader(self) -> DataLoader:
        rank, world_size, epoch = self.place()
        rows, options = self.training_rows, {"rank": rank, "world_size": world_size, "epoch": epoch}
        return DataLoader(
            rows,
            sampler=ShuffledBatches(len(rows), self.batch_size, self.steps_per_epoch, seed=self.seed, **options),
            batch_size=None,  # the sampler makes whole batches
            num_workers=self.workers,
            persistent_workers=self.workers > 0,  # epochs are short
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # else every epoch would take a number from the global generator
        )

    def val_dataloader(self) -> DataLoader | list:
        """One clean batch of at most ``N_VALIDATION`` held-out examples, the same on all ranks; no loader without."""
        if len(self.rows("validation")) == 0:
            return []
        batch = Batch(*self.split("validation", N_VALIDATION))
        return DataLoader([batch], batch_size=None, generator=torch.Generator())  # no number of the global generator

    def place(self) -> tuple[int, int, int]:
        """Rank, number of processes, and epoch to begin with: 0, 1, 0 without a trainer.

        Lightning makes the first iterator of a resumed run before it tells the sampler the epoch, hence the third.
        """
        if self.trainer is None:
            return 0, 1, 0
        epoch = self.trainer.fit_loop.epoch_progress.current.processed
        return self.trainer.global_rank, self.trainer.world_size, epoch


def check(batch_size, steps_per_epoch, labeled, value_range, noise_std) -> None:
    """Raises ValueError naming the first keyword that makes no sense."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if steps_per_epoch is not None and steps_per_epoch < 1:
        raise ValueError(f"steps_per_epoch must be at least 1, or null for one pass, got {steps_per_epoch}")
    if labeled is not None and labeled < 1:
        raise ValueError(f"labeled must be at least 1, or null for all, got {labeled}")
    if noise_std < 0:
        raise ValueError(f"noise_std must not be negative, got {noise_std}")
    if value_range is None:
        return
    pair = isinstance(value_range, (list, tuple)) and len(value_range) == 2
    if not (pair and value_range[0] < value_range[1]):
        raise ValueError(f"value_range must be [low, high] with low < high, or null, got {value_range}")
