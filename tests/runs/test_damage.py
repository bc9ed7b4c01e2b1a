"""Damaged files: whatever reads them says so, or reads what was written; nothing in between."""

from __future__ import annotations

import random
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import SMALL

from ebm_cli.config import ConfigError, build
from ebm_cli.metrics import reference_classifier
from ebm_cli.runs.files import checkpoint_of, read_checkpoint
from ebm_cli.runs.find import find_run
from ebm_cli.runs.samples import read_samples
from ebm_cli.runs.trained import kept_chains, load_energy
from ebm_cli.training.checkpoint_io import CheckpointIO, find_newest_whole
from ebm_cli.utils.whole import read_tensors

SHORT = {"flips": 40, "cuts": 10, "zeroed": 6}
LONG = {"flips": 400, "cuts": 100, "zeroed": 60}


def damaged(whole: bytes, kinds: dict[str, int]):
    """Copies of a file with one bit flipped, an end missing, or a block of 64 bytes zeroed."""
    rng = random.Random(0)
    for _ in range(kinds["flips"]):
        at = rng.randrange(len(whole))
        yield whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :]
    for _ in range(kinds["cuts"]):
        yield whole[: rng.randrange(len(whole))]
    for _ in range(kinds["zeroed"]):
        at = rng.randrange(len(whole) - 64)
        yield whole[:at] + bytes(64) + whole[at + 64 :]


def same(a, b) -> bool:
    """Whether two contents are equal, bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run, trained once."""
    import importlib
    import os
    import sys

    folder, here, argv = tmp_path_factory.mktemp("damage"), os.getcwd(), sys.argv
    os.chdir(folder)
    os.environ["EBM_RUN_STAMP"] = "a"
    sys.argv = ["ebm-train", *SMALL, "name=r"]
    try:
        importlib.import_module("ebm_cli.train").main()
    finally:
        sys.argv = argv
        os.chdir(here)
        os.environ.pop("EBM_RUN_STAMP")
    return folder / "outputs" / "runs" / "r" / "a"


@pytest.fixture
def copied(run, tmp_path):
    return shutil.copytree(run, tmp_path / "outputs" / "runs" / "r" / "b")


def readers(copied, tmp_path):
    """By name: the file, and what reads it."""
    last, best = (copied / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    alone = tmp_path / "alone.ckpt"
    shutil.copy(last, alone)
    points = tmp_path / "x.npz"
    np.savez(points, samples=np.linspace(-1, 1, 640).astype(np.float32).reshape(10, 1, 8, 8))
    pixels = tmp_path / "y.npz"
    grey = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8)).astype(np.uint8)
    np.savez_compressed(pixels, x=grey, y=np.arange(60) % 3)
    judge = tmp_path / "judge.pt"
    torch.save(reference_classifier.ReferenceClassifier((1, 8, 8), 10).state_dict(), judge)
    digits = SimpleNamespace(shape=(1, 8, 8), value_range=(-1, 1), name="d", scaling=None)
    own = {"_target_": "ebm_cli.datasets.Npz", "file": str(pixels), "value_range": [-1, 1]}
    return {
        "best": (best, lambda: read_checkpoint(checkpoint_of(find_run(copied), "best"))["state_dict"]),
        "checkpoint=FILE": (alone, lambda: read_checkpoint(checkpoint_of(copied, str(alone)))["state_dict"]),
        "load_energy": (alone, lambda: load_energy(alone).state_dict()),
        "kept chains": (last, lambda: kept_chains(SimpleNamespace(config={"run": str(copied)}))),
        "resume": (last, lambda: CheckpointIO().load_checkpoint(last)["ranks"]),
        "a judge": (judge, lambda: read_tensors(judge)),
        "samples=": (points, lambda: read_samples(str(points), digits).x),
        "data": (pixels, lambda: list(build(own, "dataset").split("train"))),
    }


NAMES = ["best", "checkpoint=FILE", "load_energy", "kept chains", "resume", "a judge", "samples=", "data"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kinds", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)], ids=["short", "long"])
def test_no_damage_is_silent(name, kinds, copied, tmp_path):
    file, read = readers(copied, tmp_path)[name]
    whole, truth, named = file.read_bytes(), read(), 0
    for broken in damaged(whole, kinds):
        file.write_bytes(broken)
        try:
            found = read()
        except (ConfigError, ValueError) as error:  # one line that names the file
            assert file.name in str(error) and "\n" not in str(error), error
            named += 1
            continue
        assert same(found, truth)  # a bit that carries nothing: padding, a time stamp
    assert named >= 0.5 * sum(kinds.values())
    file.write_bytes(whole)
    assert same(read(), truth)


def test_a_damaged_last_checkpoint_is_passed_over_when_a_run_goes_on(copied, capsys):
    last = copied / "checkpoints" / "last.ckpt"
    for broken in damaged(last.read_bytes(), {"flips": 0, "cuts": 3, "zeroed": 3}):
        last.write_bytes(broken)
        assert find_newest_whole(last.parent).name == "last-1.ckpt"
        assert "last.ckpt is damaged" in capsys.readouterr().err


def test_a_damaged_judge_is_trained_anew_with_a_warning(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EBM_CACHE", str(tmp_path))
    trained = []
    monkeypatch.setattr(reference_classifier, "train", lambda *args, **more: trained.append(1))
    reference_classifier.load_or_train_reference(digits)
    (file,) = tmp_path.glob("*.pt")
    file.write_bytes(file.read_bytes()[:-100])
    reference_classifier.load_or_train_reference(digits)
    assert len(trained) == 2 and f"{file}: damaged" in capsys.readouterr().err
    reference_classifier.load_or_train_reference(digits)
    assert len(trained) == 2


def test_weights_that_are_not_finite_are_refused(copied, tmp_path):
    file = tmp_path / "nan.ckpt"
    content = torch.load(copied / "checkpoints" / "last.ckpt", weights_only=True)
    content["state_dict"]["energy.layers.0.weight"][0, 0] = float("inf")
    torch.save(content, file)
    with pytest.raises(ConfigError, match="energy.layers.0.weight is not finite"):
        load_energy(file)
