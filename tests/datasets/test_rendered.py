"""Patches, and data sets that a program draws."""

import math

import pytest
import torch
from sets import make

from ebm_cli import datasets
from ebm_cli.datasets.augment import shifted
from ebm_cli.datasets.shapes import CONCEPTS


def test_patches_of_one_photograph_lie_in_one_split():
    data = make("patches")
    x = {split: data.rows(split).x for split in ("train", "validation", "test")}
    assert len(x["train"]) > 5000 and min(len(part) for part in x.values()) > 400
    photographs = [name for names in datasets.patches.PHOTOGRAPHS.values() for name in names]
    assert len(photographs) == len(set(photographs))
    seen = {patch.numpy().tobytes() for patch in x["train"]}
    assert not any(patch.numpy().tobytes() in seen for patch in x["test"])
    assert min(part.float().flatten(1).std(1).min() for part in x.values()) > 8


def test_attributes_of_shapes_are_what_is_drawn():
    data = make("shapes", n_train=2000, value_range=[0, 1])
    x, labels = data.part("train")
    attributes = data.attributes("train")
    assert torch.equal(labels, attributes["shape"]) and {k: int(v.max()) + 1 for k, v in attributes.items()} == CONCEPTS
    ink = x[:, 0].double()
    line = (torch.arange(16) + 0.5) / 8 - 1
    row, column = ((ink * axis).sum((1, 2)) / ink.sum((1, 2)) for axis in (line[:, None], line[None]))
    assert torch.equal(2 * (row > 0).long() + (column > 0).long(), attributes["position"])
    area = ink.mean((1, 2))
    for kind in range(3):
        of_kind = attributes["shape"] == kind
        small, large = (area[of_kind & (attributes["size"] == size)] for size in (0, 1))
        assert small.max() < large.min()


def test_rotations_of_shapes_are_quarter_turns():
    attributes = {"shape": torch.tensor([0, 1, 2] * 4), "size": torch.ones(12, dtype=torch.long)}
    attributes |= {"position": torch.zeros(12, dtype=torch.long), "rotation": torch.arange(12) // 3}
    mean = torch.stack([datasets.shapes.drawn(attributes, torch.Generator().manual_seed(i)) for i in range(40)])
    mean = mean.double().mean(0)[:, 0, :10, :10].view(4, 3, 10, 10)
    for kind in range(3):
        turned = torch.stack([mean[k, kind].rot90(k) for k in range(4)])
        gaps = torch.cdist(turned.flatten(1), mean[:, kind].flatten(1))
        assert float(turned.std(0).mean()) < 0.1 * float(turned.std())
        assert gaps[0, 1:].min() > 3 * (turned - turned.mean(0)).flatten(1).norm(dim=1).max()


def test_moving_digits_keep_their_pixels_and_move():
    x, y = make("moving_digits", n_train=200).part("train")
    total = x.double().sum((1, 3, 4))
    assert torch.equal(total, total[:, :1].expand(-1, 8)) and len(y.unique()) == 10
    assert ((x[:, 0, 1:].float() - x[:, 0, :-1].float()).abs().sum((2, 3)) > 0).float().mean() > 0.6


def test_voxels_have_the_volumes_of_their_solids():
    x, y = make("voxels", n_train=1500).part("train")
    volume = x.double().mean((1, 2, 3, 4)) / 255 * 8  # of a cube of side 2
    moment = (0.65**4 - 0.45**4) / 4 / 0.2  # mean of the cubed size, which is uniform
    expected = [4 / 3 * math.pi, 1.6**3, 0.36 * math.pi * 2, math.pi * 0.45**2 * 8 / 3, 2 * math.pi**2 * 0.75 * 0.09]
    for kind, unit in enumerate(expected):
        assert volume[y == kind].mean().item() == pytest.approx(unit * moment, rel=0.07)


def test_shapes_are_neither_mirrored_nor_cropped():
    for change in ({"flip": True}, {"crop": 1}):
        with pytest.raises(ValueError, match="would change the attributes"):
            make("shapes", **change)


def test_frames_of_a_clip_are_cropped_alike():
    torch.manual_seed(0)
    frame = torch.rand(5, 1, 1, 8, 8)
    seen = shifted(frame.expand(-1, -1, 3, -1, -1), 2)
    assert torch.equal(seen, seen[:, :, :1].expand_as(seen)) and not torch.equal(seen[:, :, :1], frame)
