"""Street View House Numbers, read by torchvision."""

from __future__ import annotations

import torch
import torchvision

from ebm_cli.datasets.stored import StoredData


class Reader(torchvision.datasets.SVHN):
    """Torchvision's reader without checksums: those are for downloads, not for each start."""

    split_list = {key: [url, file, None] for key, (url, file, _) in torchvision.datasets.SVHN.split_list.items()}


class SVHN(StoredData):
    """73257 cropped house-number digits 32x32 in color to train on and 26032 to test (Netzer et al. 2011).

    Args: see ``StoredData``.
    """

    name = "svhn"
    shape = (3, 32, 32)
    n_classes = 10
    class_names = [str(digit) for digit in range(10)]
    files = {"train": ("train_32x32.mat",), "test": ("test_32x32.mat",)}

    def load(self, part):
        reader = Reader(str(self.find(part)[0]), split=part)
        return torch.from_numpy(reader.data), torch.from_numpy(reader.labels).long()

    def fetch(self, part):
        torchvision.datasets.SVHN(str(self.root), split=part, download=True)
