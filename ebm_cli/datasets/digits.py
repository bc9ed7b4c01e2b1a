"""The digits that scikit-learn ships: real data without network."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ebm_cli.datasets.batches import cut
from ebm_cli.datasets.datamodule import SPLIT_SEED, DataModule, fixed
from ebm_cli.energies import Support

N_TEST = 450


class Digits(DataModule):
    """1797 handwritten digits, 8x8, 17 grey levels (Alpaydin & Kaynak 1998): 1347 to train on, 450 to test.

    The split is fixed, with the classes in proportion.

    Example:
        >>> data = Digits(value_range=[-1, 1])
        >>> data.split("test").x.shape
        torch.Size([450, 1, 8, 8])

    Args: see ``DataModule``.
    """

    name = "digits"
    shape = (1, 8, 8)
    n_classes = 10
    class_names = [str(digit) for digit in range(10)]
    levels = 17

    def load(self, part):
        from sklearn.datasets import load_digits  # costs a second to import

        x, y = load_digits(return_X_y=True)
        x, y = torch.from_numpy(x).to(torch.uint8).view(-1, 1, 8, 8), torch.from_numpy(y).long()
        train, test = cut(y, len(y), N_TEST, SPLIT_SEED)
        index = train if part == "train" else test
        return x[index], y[index]


@dataclass(kw_only=True, eq=False)
class BinaryDigits(Digits):
    """The digits in black and white: 1 where the grey level, 0 to 16, is at least ``threshold``.

    Args:
        threshold: the lowest grey level that is white.
        batch_size, steps_per_epoch, workers, validation, labeled, seed: see ``DataModule``.
    """

    name = "binary_digits"

    value_range: tuple[float, float] = fixed((0.0, 1.0))
    dequantize: bool = fixed(False)
    noise_std: float = fixed(0.0)
    clamp: bool = fixed(False)
    flip: bool = fixed(False)
    crop: int = fixed(0)
    threshold: int = 9

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.threshold <= 16:
            raise ValueError(f"dataset.threshold must be one of the grey levels 1 to 16, got {self.threshold}")

    @property
    def support(self) -> Support:
        return Support("binary")

    def clean(self, x):
        return (x >= self.threshold).float() if x.dtype == torch.uint8 else x
