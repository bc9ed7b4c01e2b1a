# ruff: noqa: F401, F811 (fixtures are arguments)
"""Splits that never mix."""

import pytest
import torch
from sets import files, make

from ebm_cli.datasets.batches import portion


def test_digits_split_1347_450_with_classes_in_proportion():
    data = make("digits", validation=0.1)
    x, y = zip(*(data.split(name) for name in ("train", "validation", "test")), strict=True)
    assert [len(part) for part in x] == [1212, 135, 450]
    whole = torch.cat(y).bincount() / 1797
    for part in y:
        assert (part.bincount(minlength=10) - whole * len(part)).abs().max() <= 2
    images = torch.cat(x).flatten(1)
    everything = images.unique(dim=0)
    assert len(everything) == len(images)  # all 1797 digits differ, so nothing lies in two splits
    assert images.min() == -1 and images.max() == 1


@pytest.mark.parametrize("name", ["mnist", "cifar10", "folder", "npz", "8gaussians"])
def test_validation_is_cut_from_train_and_the_same_for_every_seed(name, files):
    data, other = make(name, files), make(name, files)
    other.seed = 99
    train, validation = data.rows("train"), data.rows("validation")
    assert not torch.isin(train.index, validation.index).any()
    assert len(train) + len(validation) == len(train.x) and len(validation) > 0
    assert torch.equal(validation.index, other.rows("validation").index)
    assert data.rows("test").x is not train.x
    assert torch.equal(data.split("test").x, other.split("test").x)


def test_folder_and_npz_hold_out_a_test_part(files):
    folder = make("folder", files)
    train, test = set(folder.rows("train").x.paths), set(folder.rows("test").x.paths)
    assert not train & test and len(train) == 36 and len(test) == 4
    assert folder.class_names == ["cats", "dogs"] and sorted(folder.split("test").y.tolist()) == [0, 0, 0, 1]
    x = torch.cat([make("npz", files).part(part)[0] for part in ("train", "test")])
    assert len(x.unique(dim=0)) == 100


def test_portion_keeps_proportions_and_draws_anew_for_another_seed():
    y = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    index = portion(y, 1000, 100, seed=1)
    assert y[index].bincount().tolist() == [90, 9, 1] and len(index.unique()) == 100
    assert not torch.equal(index, portion(y, 1000, 100, seed=2))


@pytest.mark.parametrize("amount", [1347, 1.5, -1, -0.1])
def test_impossible_validation_is_refused(amount):
    with pytest.raises(
        ValueError, match=rf"dataset.validation(={amount}: must be at least 0| must be .*, got {amount})"
    ):
        make("digits", validation=amount).rows("train")


def test_drawn_examples_are_clean_training_examples():
    data = make("digits", noise_std=0.5, dequantize=True)
    x, y = data.draw(500, torch.Generator().manual_seed(0))
    train = data.split("train")
    nearest = torch.cdist(x.flatten(1), train.x.flatten(1)).min(1)
    assert nearest.values.max() < 1e-3 and torch.equal(train.y[nearest.indices], y)
    assert torch.equal(x, data.draw(500, torch.Generator().manual_seed(0))[0])
