"""A run is a folder: moved, copied, renamed, read-only, alone, where no links exist, held by one process at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import SMALL

from ebm_cli import load_energy
from ebm_cli.config import ConfigError
from ebm_cli.runs.find import find_run
from ebm_cli.runs.hold import hold

TRAIN = (*SMALL, "name=r", "sample_steps=3")


def state(folder) -> dict:
    """Hashes of all files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def run(command, tmp_path):
    status, _, err = command("ebm-train", *TRAIN, stamp="a")
    assert status == 0, err
    return tmp_path / "outputs" / "runs" / "r" / "a"


def test_no_path_of_the_run_stands_in_its_config(run, tmp_path):
    assert str(tmp_path) not in (run / "config.yaml").read_text()
    assert str(tmp_path) not in str(torch.load(run / "checkpoints" / "last.ckpt")["hyper_parameters"])


def test_a_copy_is_resumed_and_the_original_stays_as_it_was(run, command, tmp_path):
    copy, before = shutil.copytree(run, tmp_path / "elsewhere" / "copy"), state(run)
    status, _, err = command("ebm-train", f"run={copy}", "trainer.max_epochs=3")
    assert status == 0, err
    assert state(run) == before
    assert torch.load(copy / "checkpoints" / "last.ckpt")["global_step"] == 15
    assert str(tmp_path) not in (copy / "config.yaml").read_text()


def test_a_moved_run_goes_on_bit_for_bit(run, command, tmp_path):
    kept = shutil.copytree(run, tmp_path / "outputs" / "runs" / "r" / "b")
    moved = shutil.move(run, tmp_path / "moved")
    for place in (kept, moved):
        assert command("ebm-train", f"run={place}", "trainer.max_epochs=3")[0] == 0
    a, b = (torch.load(place / "checkpoints" / "last.ckpt")["state_dict"] for place in (kept, moved))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_that_cannot_be_written_is_sampled_and_measured(run, command):
    for path in [run, *run.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = state(run)
    assert command("ebm-sample", f"run={run}", "num_samples=4")[0] == 0
    status, out, err = command("ebm-eval", f"run={run}", "metric=[fd_pixel]", "metric.fd_pixel.n=64")
    assert status == 0 and "fd_pixel" in out, err
    assert state(run) == before
    for path in [run, *run.rglob("*")]:
        path.chmod(0o755)


def test_where_there_are_no_links_everything_works_with_one_warning(command, tmp_path, monkeypatch):
    def refuse(*args, **more):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "symlink", refuse)
    for stamp in ("a", "b"):
        status, _, err = command("ebm-train", *TRAIN, stamp=stamp)
        assert status == 0 and err.count("warning: ") == 1, err
        assert "cannot be made to point to this run (Operation not supported)" in err
    assert not list((tmp_path / "outputs" / "runs").glob("latest*"))
    assert find_run("latest") == find_run("outputs/runs/latest") == tmp_path / "outputs" / "runs" / "r" / "b"
    assert command("ebm-sample", "num_samples=4")[0] == 0
    assert command("ebm-train", "run=latest", "trainer.max_epochs=3")[0] == 0


def test_latest_may_be_a_folder(run, command, tmp_path):
    latest = tmp_path / "outputs" / "runs" / "latest"
    latest.unlink()
    shutil.copytree(run, latest)
    before = state(latest)
    status, _, err = command("ebm-train", *TRAIN, stamp="b")
    assert status == 0 and "it is a folder" in err
    assert find_run("latest") == tmp_path / "outputs" / "runs" / "r" / "b"
    assert command("ebm-sample", "num_samples=4")[0] == 0
    assert state(latest) == before


def test_a_checkpoint_alone_is_enough_to_sample(command, tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", x=x)
    words = ("dataset=npz", "dataset.file=mine.npz", "recipe=vectors")
    status, _, err = command("ebm-train", *TRAIN, *words, stamp="a")
    assert status == 0, err
    run = tmp_path / "outputs" / "runs" / "r" / "a"
    (tmp_path / "alone").mkdir()
    file = shutil.copy(run / "checkpoints" / "best.ckpt", tmp_path / "alone" / "mine.ckpt")
    (tmp_path / "mine.npz").unlink()
    shutil.rmtree(run)
    assert load_energy(file)(torch.zeros(2, 3)).shape == (2,)
    status, _, err = command("ebm-sample", f"run={file}", "num_samples=4")
    assert status == 0, err
    assert len(list((tmp_path / "outputs" / "samples" / "r").glob("*/samples.npz"))) == 1
    status, _, err = command("ebm-eval", f"run={file}", "metric=[stein]")
    assert status == 1 and "mine.npz: no such file" in err, err
    status, _, err = command("ebm-train", f"run={file}")
    assert status == 1 and "a checkpoint alone cannot be trained on" in err


def test_data_of_any_name_can_be_sampled_and_measured(command, tmp_path):
    np.savez(tmp_path / "my data (1) #2.npz", x=np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32))
    words = ("dataset=npz", "dataset.file='my data (1) #2.npz'", "recipe=vectors")
    status, _, err = command("ebm-train", *TRAIN, *words, stamp="a")
    assert status == 0, err
    status, _, err = command("ebm-sample", "num_samples=4")
    assert status == 0, err


def test_data_are_found_from_another_folder(command, tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", x=np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32))
    words = ("dataset=npz", "dataset.file=mine.npz", "recipe=vectors")
    assert command("ebm-train", *TRAIN, *words, stamp="a")[0] == 0
    run = tmp_path / "outputs" / "runs" / "r" / "a"
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    status, _, err = command("ebm-eval", f"run={run}", "metric=[stein]")
    assert status == 0, err


def test_a_model_that_does_not_fit_leaves_the_run_as_it_was(run, command):
    before = {k: v for k, v in state(run).items() if not k.startswith((".hydra", "train.log"))}
    status, _, err = command("ebm-train", f"run={run}", "model.hidden=[8,8]", "trainer.max_epochs=3")
    assert status == 1 and "energy.layers.0.weight is (16, 64) in the file, (8, 64) in this model" in err, err
    after = {k: v for k, v in state(run).items() if not k.startswith((".hydra", "train.log", ".lock"))}
    assert after == {k: v for k, v in before.items() if not k.startswith(".lock")}
    assert command("ebm-train", f"run={run}", "trainer.max_epochs=3")[0] == 0


def test_a_second_process_is_refused_and_told_who_holds_the_run(run, command):
    code = "import sys, time\nfrom pathlib import Path\nfrom ebm_cli.runs.hold import hold\n"
    code += "with hold(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code, str(run)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    status, _, err = command("ebm-train", f"run={run}", "trainer.max_epochs=3")
    assert status == 1 and f"process {other.pid} on " in err and "is training here" in err, err
    other.kill()  # a process that dies lets go
    other.wait()
    assert command("ebm-train", f"run={run}", "trainer.max_epochs=3")[0] == 0


def test_a_file_system_without_locks_gets_a_warning(tmp_path, monkeypatch, capsys):
    from filelock import FileLock

    def refuse(self, *args, **more):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with hold(tmp_path):
        assert "cannot be locked (Function not implemented)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv"])
def test_corrupt_files_of_a_run_are_named(run, command, name):
    (run / name).write_bytes(b"\x80\xff\n\t{")
    status, _, err = command("ebm-train", f"run={run}", "trainer.max_epochs=3")
    line = next(line for line in err.splitlines() if line.startswith("ebm-train: "))
    assert status == 1 and str(run / name) in line


def test_the_table_of_runs_lists_the_others(run, command, tmp_path):
    broken = shutil.copytree(run, tmp_path / "outputs" / "runs" / "r" / "b")
    (broken / "metrics.json").write_text("{")
    status, out, err = command("ebm-table", "table=runs")
    assert status == 0 and "sample_steps=3" in out and f"{broken / 'metrics.json'}".removeprefix(f"{tmp_path}/") in err


def test_a_link_out_of_the_run_is_refused(run, tmp_path):
    (run / "notes").symlink_to("train.log")
    assert find_run(run) == run
    (run / "more").symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="more: a link that leads out of the run"):
        find_run(run)
