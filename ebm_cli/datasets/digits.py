"""scikit-learn's handwritten digits: 1797 real 8x8 images that need no download."""

from __future__ import annotations

import torch

from ebm_cli.datasets.datamodule import Batch, DataModule

N_TEST = 450


class Digits(DataModule):
    """8x8 grey digits, 10 classes (UCI optical recognition of handwritten digits, as bundled with scikit-learn).

    The test split is fixed: 450 images drawn in proportion to the classes. Grey levels 0 .. 16 become 0 .. 255.
    """

    name = "digits"
    shape = (1, 8, 8)
    n_classes = 10
    class_names = tuple("0123456789")

    def load(self, split: str) -> Batch:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        bunch = load_digits()
        rows = train_test_split(range(len(bunch.target)), test_size=N_TEST, random_state=0, stratify=bunch.target)
        index = rows[split == "test"]
        images = torch.as_tensor(bunch.images[index] * 255 / 16).round().to(torch.uint8)
        return Batch(images[:, None], torch.as_tensor(bunch.target[index]).long())
