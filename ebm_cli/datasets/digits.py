"""The digits that scikit-learn ships: real data without network."""

from __future__ import annotations

import torch

from ebm_cli.datasets.batches import cut
from ebm_cli.datasets.datamodule import SPLIT_SEED, DataModule

N_TEST = 450


class Digits(DataModule):
    """1797 handwritten digits, 8x8, 17 grey levels (Alpaydin & Kaynak 1998): 1347 to train on, 450 to test.

    The split is fixed, with the classes in proportion.

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
