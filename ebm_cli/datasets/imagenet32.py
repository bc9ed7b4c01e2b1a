"""ImageNet at 32x32, in the .npz batches that image-net.org publishes."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm_cli.datasets.stored import StoredData
from ebm_cli.utils.whole import read_arrays


class ImageNet32(StoredData):
    """1281167 color images 32x32 in 1000 classes to train on, 50000 to test (Chrabaszcz et al. 2017).

    Each file holds ``data`` ``(N, 3072)``, uint8, color planes one after the other, and ``labels`` from 1 to 1000.

    Args: see ``StoredData``.
    """

    name = "imagenet32"
    shape = (3, 32, 32)
    n_classes = 1000
    subfolder = "imagenet32"
    files = {
        "train": tuple(f"train_data_batch_{i}.npz" for i in range(1, 11)),
        "test": ("val_data.npz",),
    }

    def load(self, part):
        batches = [self.read(path) for path in self.find(part)[1]]
        x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return x, y

    def read(self, path) -> tuple[Tensor, Tensor]:
        """Images ``(N, 3, 32, 32)`` and labels from 0 of one file."""
        arrays = read_arrays(path)
        x, y = torch.from_numpy(arrays["data"]), torch.as_tensor(arrays["labels"]).long()
        return x.view(-1, *self.shape), y - 1

    def fetch(self, part):
        raise OSError("image-net.org gives these files to registered users only")
