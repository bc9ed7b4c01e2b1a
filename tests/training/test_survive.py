"""Runs that are stopped, killed, damaged or continued by another number of processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import SMALL

from ebm_cli.config import ConfigError
from ebm_cli.training.checkpoint_io import CheckpointIO, find_damage, find_newest_whole, rotate
from ebm_cli.training.resume import share_out

TRAIN = (sys.executable, "-c", "from ebm_cli.train import main; main()")
LONG = ("trainer.max_epochs=100000", "schedule.hold=1.0")


def start(folder, *words):
    env = {**os.environ, "EBM_RUN_STAMP": "a", "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*TRAIN, *SMALL, *words], cwd=folder, env=env, **pipes)


def wait_for(folder: Path, pattern: str, process, seconds: float = 90) -> Path:
    """The first file below ``folder`` that matches, as soon as it is there."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        found = list(folder.glob(pattern))
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError(f"{pattern} did not appear: {process.communicate(timeout=5) if process.poll() else ''}")


def saved(file: Path, name: str = "tensor") -> torch.Tensor:
    value = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    torch.save({name: value}, file)
    return value


# Signals -----------------------------------------------------------------------------------------------------------


def test_sigterm_saves_at_the_end_of_the_epoch_and_says_how_to_go_on(tmp_path):
    process = start(tmp_path, *LONG)
    last = wait_for(tmp_path, "outputs/runs/*/a/checkpoints/last.ckpt", process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "SIGTERM: stopping at the end of this epoch" in err
    assert f"ebm-train run={last.parents[1]}" in out
    content = torch.load(last, weights_only=True)
    assert content["global_step"] % 5 == 0 and content["global_step"] > 0  # whole epochs of five updates


# Damage ------------------------------------------------------------------------------------------------------------


def test_flipped_bits_and_missing_ends_are_recognized(tmp_path):
    file = tmp_path / "x.ckpt"
    value = saved(file)
    whole = file.read_bytes()
    assert find_damage(file) is None
    rng = random.Random(0)
    for _ in range(200):
        at = rng.randrange(len(whole))
        file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
        if find_damage(file) is None:  # a bit that carries nothing: padding, a time stamp
            assert torch.equal(torch.load(file, weights_only=True)["tensor"], value)
    for end in (0, 10, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:end])
        assert find_damage(file)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, capsys):
    for name in ("last.ckpt", "last-1.ckpt", "last-2.ckpt"):
        saved(tmp_path / name)
    assert find_newest_whole(tmp_path).name == "last.ckpt"
    (tmp_path / "last.ckpt").write_bytes(b"half a file")
    assert find_newest_whole(tmp_path).name == "last-1.ckpt"
    assert "last.ckpt is damaged" in capsys.readouterr().err
    (tmp_path / "last.ckpt").unlink()  # killed between two renames
    assert find_newest_whole(tmp_path).name == "last-1.ckpt"
    for name in ("last-1.ckpt", "last-2.ckpt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ConfigError, match="all 2 checkpoints are damaged"):
        find_newest_whole(tmp_path)
    assert find_newest_whole(tmp_path / "nothing") is None


def test_the_ring_moves_on(tmp_path):
    last = tmp_path / "last.ckpt"
    for k in range(5):
        rotate(last, 2)
        last.write_text(str(k))
    kept = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert kept == {"last.ckpt": "4", "last-1.ckpt": "3", "last-2.ckpt": "2"}


def test_training_goes_on_from_the_one_before(command, tmp_path):
    command("ebm-train", *SMALL, stamp="a")
    (run,) = tmp_path.glob("outputs/runs/*/a")
    last = run / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-1000])
    status, _, err = command("ebm-train", *SMALL, "trainer.max_epochs=3", stamp="a")
    assert status == 0 and "is damaged" in err
    assert torch.load(last, weights_only=True)["global_step"] == 15
    with zipfile.ZipFile(last) as archive:
        assert archive.testzip() is None


def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(command, tmp_path, monkeypatch):
    command("ebm-train", *SMALL, stamp="a")
    (run,) = tmp_path.glob("outputs/runs/*/a")
    before = (run / "checkpoints" / "last.ckpt").read_bytes()

    def full(content, path, *args):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ebm_cli.training.checkpoint_io.torch.save", full)
    status, _, err = command("ebm-train", *SMALL, "trainer.max_epochs=3", stamp="a")
    assert status == 1 and "last.ckpt: not written (No space left on device)" in err and "is intact" in err
    assert (run / "checkpoints" / "last.ckpt").read_bytes() == before
    assert not list(run.glob("checkpoints/*.part"))


def test_reading_a_checkpoint_checks_every_record(tmp_path):
    io, file = CheckpointIO(), tmp_path / "some.ckpt"
    io.save_checkpoint({"weights": torch.arange(1000.0)}, file)
    assert torch.equal(io.load_checkpoint(file)["weights"], torch.arange(1000.0))
    content = bytearray(file.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 2000] ^= 1
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="some.ckpt: damaged .checksum of"):
        io.load_checkpoint(file)


def test_the_history_is_on_disk_before_the_checkpoint(command, tmp_path, monkeypatch):
    """A run killed right after it would not log these values again."""
    from ebm_cli.runs.history import read_rows

    seen, save = [], CheckpointIO.save_checkpoint

    def look(self, checkpoint, path, storage_options=None):
        seen.append((checkpoint["global_step"], read_rows(Path(path).parents[1] / "metrics.csv")[-1]))
        save(self, checkpoint, path)

    monkeypatch.setattr(CheckpointIO, "save_checkpoint", look)
    status, _, err = command("ebm-train", *SMALL)
    assert status == 0 and seen, err
    assert all(row["step"] == step - 1 and {"loss", "grad_norm"} <= set(row) for step, row in seen)


# Another number of processes ---------------------------------------------------------------------------------------


def rank_state(first: int, n: int) -> dict:
    rows = torch.arange(first, first + n)
    population = {"x": rows[:, None].float(), "y": rows, "age": rows, "cursor": 3, "log_w": rows.float(), "log_z": 1.5}
    frozen = {"channels_last": None}
    return {"negatives": {"population": population, "generator": torch.zeros(1), "frozen": frozen}}


@pytest.mark.parametrize("world", [1, 3])
def test_chains_are_shared_out_anew_without_loss(world):
    ranks = [rank_state(0, 6), rank_state(6, 6)]
    parts = [share_out(ranks, rank, world) for rank in range(world)]
    populations = [part["negatives"]["population"] for part in parts]
    for key in ("x", "y", "age", "log_w"):
        together = torch.cat([population[key].flatten() for population in populations])
        assert together.tolist() == list(range(12))
    assert all(population["log_z"] == 1.5 and population["cursor"] == 0 for population in populations)
    assert all(part["negatives"]["generator"] is None for part in parts)


# What is left behind ---------------------------------------------------------------------------------------------


def test_a_run_leaves_no_handler_and_no_trainer_behind(command):
    import gc

    from pytorch_lightning import Trainer

    gc.collect()
    there = sum(isinstance(kept, Trainer) for kept in gc.get_objects())  # of other tests
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    assert command("ebm-train", *SMALL)[0] == 0
    assert {signum: signal.getsignal(signum) for signum in before} == before
    gc.collect()
    assert sum(isinstance(kept, Trainer) for kept in gc.get_objects()) <= there
