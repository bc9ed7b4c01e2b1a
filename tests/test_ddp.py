"""Two processes on the CPU: one set of weights, two sets of chains, one run directory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from conftest import SMALL

DDP = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


def train(folder, stamp, *words):
    env = {**os.environ, "EBM_RUN_STAMP": stamp, "OMP_NUM_THREADS": "1"}
    command = os.path.join(os.path.dirname(sys.executable), "ebm-train")
    done = subprocess.run([command, *SMALL, *DDP, *words], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    (run,) = folder.glob(f"outputs/runs/mlp-*/{stamp}")
    return run, torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


@pytest.mark.skipif(
    not os.path.exists(os.path.join(os.path.dirname(sys.executable), "ebm-train")), reason="not installed"
)
def test_two_processes_share_weights_and_not_chains_and_resume_exactly(tmp_path):
    run, straight = train(tmp_path, "straight", "trainer.max_epochs=2", "schedule.hold=1.0")
    train(tmp_path, "broken", "trainer.max_epochs=1", "schedule.hold=1.0")
    _, broken = train(tmp_path, "broken", "trainer.max_epochs=2", "schedule.hold=1.0")
    assert len(straight["ranks"]) == 2
    first, second = (rank["chains"]["entries"]["x"] for rank in straight["ranks"])
    assert not torch.equal(first, second)
    assert not torch.equal(straight["ranks"][0]["random"]["cpu"], straight["ranks"][1]["random"]["cpu"])
    for key, value in straight["state_dict"].items():
        assert torch.equal(value, broken["state_dict"][key]), key
    for a, b in zip(straight["ranks"], broken["ranks"], strict=True):
        assert torch.equal(a["chains"]["entries"]["x"], b["chains"]["entries"]["x"])
    assert (run / "samples.png").is_file() and len(list(tmp_path.glob("outputs/runs/mlp-*/*"))) == 2
