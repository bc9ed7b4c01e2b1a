"""Two processes on the CPU: one set of weights, two sets of chains, one run directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import SMALL
from test_survive import wait_for

DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


def train(folder, stamp, *words):
    env = {**os.environ, "EBM_RUN_STAMP": stamp, "OMP_NUM_THREADS": "1"}
    command = os.path.join(os.path.dirname(sys.executable), "ebm-train")
    done = subprocess.run([command, *SMALL, *DDP, *words], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = folder.glob(f"outputs/runs/*/{stamp}")
    return run, torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.skipif(
    not os.path.exists(os.path.join(os.path.dirname(sys.executable), "ebm-train")), reason="not installed"
)
def test_two_processes_share_weights_and_not_chains_and_resume_exactly(tmp_path):
    run, straight = train(tmp_path, "straight", "trainer.max_epochs=2", "schedule.hold=1.0")
    train(tmp_path, "broken", "trainer.max_epochs=1", "schedule.hold=1.0")
    _, broken = train(tmp_path, "broken", "trainer.max_epochs=2", "schedule.hold=1.0")
    assert len(straight["ranks"]) == 2
    first, second = (rank["negatives"]["population"]["x"] for rank in straight["ranks"])
    assert not torch.equal(first, second)
    assert not torch.equal(straight["ranks"][0]["random"]["cpu"], straight["ranks"][1]["random"]["cpu"])
    for key, value in straight["state_dict"].items():
        assert torch.equal(value, broken["state_dict"][key]), key
    for a, b in zip(straight["ranks"], broken["ranks"], strict=True):
        assert torch.equal(a["negatives"]["population"]["x"], b["negatives"]["population"]["x"])
    assert (run / "samples.png").is_file() and len(list(tmp_path.glob("outputs/runs/mlp-*/*"))) == 2


def launch(folder, verb, *words):
    env = {**os.environ, "EBM_RUN_STAMP": "a", "OMP_NUM_THREADS": "1"}
    command = os.path.join(os.path.dirname(sys.executable), verb)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([command, *words], cwd=folder, env=env, start_new_session=True, **pipes)


def test_a_dead_rank_ends_the_run_with_the_command_that_goes_on(tmp_path):
    process = launch(tmp_path, "ebm-train", *SMALL, *DDP, "trainer.max_epochs=100000", "schedule.hold=1.0")
    last = wait_for(tmp_path, "outputs/runs/*/a/checkpoints/last.ckpt", process)
    (other,) = children(process.pid)
    os.kill(other, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in err, err[-2000:]
    assert f"has died, or does not answer; what was saved is whole: go on with ebm-train run={last.parents[1]}" in err


def test_sigterm_on_one_rank_saves_and_ends_both_and_samples_do_not_depend_on_devices(tmp_path):
    process = launch(tmp_path, "ebm-train", *SMALL, *DDP, "trainer.max_epochs=100000", "schedule.hold=1.0")
    last = wait_for(tmp_path, "outputs/runs/*/a/checkpoints/last.ckpt", process)
    (other,) = children(process.pid)
    os.kill(other, signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    until = time.monotonic() + 30  # the other one leaves too, at its own pace
    while is_running(other) and time.monotonic() < until:
        time.sleep(0.1)
    assert not is_running(other)
    content = torch.load(last, weights_only=True)
    assert content["global_step"] % 5 == 0 and len(content["ranks"]) == 2
    drawn = []
    for words in ((), DDP):
        done = launch(tmp_path, "ebm-sample", "num_samples=300", "sampler.n_steps=5", *words)
        _, err = done.communicate(timeout=90)
        assert done.returncode == 0, err[-2000:]
        (file,) = tmp_path.glob("outputs/samples/*/a/samples.npz")
        drawn.append(np.load(file)["samples"])
    assert len(drawn[0]) == 300 and np.array_equal(*drawn)


def is_running(pid: int) -> bool:
    """Whether a process is there, and is more than the entry of a finished one that nobody has waited for."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    """Processes that ``pid`` has started from Python, by /proc."""
    with open(f"/proc/{pid}/task/{pid}/children") as listed:
        found = [int(word) for word in listed.read().split()]
    return [child for child in found if b"ebm-train" in open(f"/proc/{child}/cmdline", "rb").read()]


EVERYTHING = (
    "metric=[fd_pixel,ood,classifier,stability,ais]", "metric.fd_pixel.repeats=2", "metric.stability.n=60",
    "metric.stability.times=2", "metric.ood.sets=[vflip,noise]", "metric.ais.n_steps=5", "metric.ais.n_chains=20",
)  # fmt: skip


def test_an_evaluation_gives_the_same_numbers_in_two_processes(tmp_path):
    launch(tmp_path, "ebm-train", *SMALL, "objective=jem").communicate(timeout=120)
    found = []
    for words in ((), DDP):
        _, err = launch(tmp_path, "ebm-eval", *EVERYTHING, *words).communicate(timeout=120)
        (file,) = tmp_path.glob("outputs/evals/*/a/metrics.json")
        found.append(json.loads(file.read_text()))
        del found[-1]["commit"]  # of the source tree, which may move on meanwhile
        assert not found[-1]["skipped"], err
        file.unlink()
    assert found[0] == found[1]
    assert {name.split("/")[0] for name in found[0]["metrics"]} == {"fd_pixel", "ood", "classifier", "stability", "ais"}
