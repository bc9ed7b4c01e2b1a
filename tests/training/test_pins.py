"""Weights and chains of four presets after 100 updates, to the bit: a change that moves code must not move numbers.

``python tests/training/test_pins.py`` writes pins.json anew, where a change of the numbers is meant.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
import torch

FILE = Path(__file__).with_name("pins.json")
PRESETS = {
    "digits": (),
    "8gaussians": ("dataset=8gaussians", "dataset.steps_per_epoch=100"),
    "digits_jem": ("experiment=digits_jem",),
    "digits_annealed": ("experiment=digits_annealed", "trainer.max_epochs=2"),
}
SHORT = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "threads=1", "name=pin", "frozen_copy=float32")


def machine() -> str:
    """What decides how sums are rounded."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return f"torch {torch.__version__.split('+')[0]}, {torch.backends.cpu.get_cpu_capability()}, {names[0]}"


def train(folder: Path, overrides: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """The weights, their average and the population of a short run, by name."""
    command = [str(Path(sysconfig.get_path("scripts")) / "ebm-train"), *SHORT, *overrides]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"EBM_RUN_STAMP": "pin"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    content = torch.load(folder / "outputs/runs/pin/pin/checkpoints/last.ckpt", weights_only=True)
    weights = {f"average/{name}": value for name, value in content["state_dict"].items()}
    weights |= {f"weights/{name}": value for name, value in content["current_model_state"].items()}
    population = content["ranks"][0]["negatives"]["population"] or {}
    chains = {f"chains/{name}": value for name, value in population.items() if isinstance(value, torch.Tensor)}
    return weights | chains


def pin(tensors: dict[str, torch.Tensor]) -> dict:
    """A digest of every bit, and norms that another machine can be compared by."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    norms = {name: float(value.double().norm()) for name, value in tensors.items() if value.is_floating_point()}
    return {"sha256": digest.hexdigest(), "norms": norms}


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_to_the_same_bits(tmp_path, name):
    pinned = json.loads(FILE.read_text())
    found, expected = pin(train(tmp_path, PRESETS[name])), pinned["presets"][name]
    if pinned["machine"] == machine():
        assert found["sha256"] == expected["sha256"]
    average = {key: value for key, value in expected["norms"].items() if key.startswith("average/")}
    assert {key: found["norms"][key] for key in average} == pytest.approx(average, rel=0.02)


if __name__ == "__main__":
    made = {}
    for preset, words in PRESETS.items():
        with tempfile.TemporaryDirectory() as scratch:
            made[preset] = pin(train(Path(scratch), words))
    FILE.write_text(json.dumps({"machine": machine(), "presets": made}, indent=1) + "\n")
    sys.stdout.write(f"{FILE}: {', '.join(made)}\n")
