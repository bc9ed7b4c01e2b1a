"""What the pages on one's own and on objectives promise of one's own energy, objective, sampler, data and preset."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from conftest import ROOT, SMALL

PAGES = "".join((ROOT / "docs" / name).read_text() for name in ("own.md", "objectives.md"))
BLOCKS = re.findall(r"```(python|yaml)\n(.*?)```", PAGES, re.S)


def block(kind, word):
    return next(text for k, text in BLOCKS if k == kind and word in text)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """The pages' code as a module ``mine`` and an empty config folder."""
    code = [block("python", f"class {name}") for name in ("Quadratic", "Descent", "Hinge")]
    (tmp_path / "mine.py").write_text("\n".join(code))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("EBM_ALLOW", "mine")
    for group in ("model", "objective", "sampler", "experiment"):
        (tmp_path / "my_conf" / group).mkdir(parents=True)
    return tmp_path / "my_conf"


def test_ones_own_energy_trains(command, mine, tmp_path):
    (mine / "model" / "quadratic.yaml").write_text(block("yaml", "mine.Quadratic"))
    words = [w for w in SMALL if not w.startswith("model.")]
    status, _, err = command("ebm-train", "--config-dir", str(mine), "model=quadratic", "dataset=two_moons", *words)
    assert status == 0, err
    status, _, err = command("ebm-train", "--config-dir", str(mine), "model=quadratic", "model.widht=3", *words)
    assert "did you mean width" in err


def test_ones_own_objective_trains(command, mine):
    (mine / "objective" / "hinge.yaml").write_text(block("yaml", "mine.Hinge"))
    status, _, err = command("ebm-train", "--config-dir", str(mine), "objective=hinge", *SMALL)
    assert status == 0, err


def test_ones_own_sampler_samples(mine):
    from mine import Descent

    x = Descent(n_steps=50, step_size=0.1).sample(lambda x: (x - 3).square().sum(1), torch.zeros(4, 2)).x
    assert torch.allclose(x, torch.full((4, 2), 3.0), atol=1e-3)


def test_ones_own_preset_is_used(command, mine):
    (mine / "experiment" / "mine.yaml").write_text("# @package _global_\nsampler:\n  n_steps: 7\nseed: 5\n")
    _, out, _ = command("ebm-train", "--config-dir", str(mine), "experiment=mine", "--cfg", "job")
    assert "n_steps: 7" in out and "seed: 5" in out


def test_ones_own_arrays_train(command, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", x=images)
    words = (f"dataset.file={tmp_path / 'mine.npz'}", "dataset.value_range=[-1,1]")
    status, _, err = command("ebm-train", "dataset=npz", *words, *SMALL)
    assert status == 0, err
