"""Diagnostics come from the chains that are delivered, which run once."""

from __future__ import annotations

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from ebm_cli.datasets.exact import Exact
from ebm_cli.energies import GaussianBase, GaussianMixture
from ebm_cli.energies.energy import energies
from ebm_cli.runs.generate import generate
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.samplers import MALA
from ebm_cli.samplers.recorder import Recorder
from ebm_cli.tasks import Compare, Denoise, Generate, Inpaint, Interpolate, LongRun
from ebm_cli.tasks.deliver import deliver


class Counted(MALA):
    """A sampler that counts the chains it was asked for."""

    runs = ()

    def sample(self, energy, x, **options):
        Counted.runs += (len(x),)
        return super().sample(energy, x, **options)


@pytest.fixture
def model(tmp_path):
    Counted.runs, energy = (), GaussianMixture()
    config = OmegaConf.create({"run": None, "logger": {}, "recipe": {"step_size": 0.1}})
    data, sampler = Exact(energy, "mixture", 0), Counted(n_steps=20, step_size=0.1)
    return TrainedModel(energy, GaussianBase((2,)), sampler, data, 20, None, 0, 10, tmp_path, config)


def test_a_recorder_leaves_the_samples_as_they_are(model):
    recorder = Recorder(20)
    watched, alone = generate(model, 300, 20, recorder=recorder), generate(model, 300, 20)
    assert torch.equal(watched.x, alone.x) and torch.equal(watched.energy, alone.energy)
    assert recorder.n_chains == 250 and recorder.whole()["x0"].shape == (64, 20)


@pytest.mark.parametrize("rows", [7, 300])
def test_what_is_recorded_are_rows_of_the_delivered_samples(model, rows):
    result = Generate()(model, rows)
    n = min(rows, 64)
    deliver(model, result, 1.0)
    delivered = np.load(model.directory / "samples.npz")
    final = energies(result.recorder.energy, result.recorder.x)
    assert np.array_equal(final.numpy(), delivered["energy"][:n])
    assert np.array_equal(result.recorder.frames[-1].numpy(), delivered["samples"][: min(n, 16)])
    assert json.loads((model.directory / "diagnostics.json").read_text())["n"] == rows


def test_chains_run_once(model):
    deliver(model, Generate()(model, 30), 1.0)
    assert Counted.runs == (30,)


@pytest.mark.parametrize(
    ("task", "compared"),
    [
        (Denoise(noise_std=1.0, repeats=4), True),
        (Inpaint(repeats=1), False),
        (Interpolate(noise_std=1.0), False),
        (LongRun(times=2), True),
        (Compare(samplers=["mala"], n_steps=20, step_sizes=[0.1]), True),
    ],
    ids=["denoise", "inpaint", "interpolate", "long_run", "compare"],
)
def test_every_task_delivers_and_compares_chains_of_one_law_alone(model, task, compared, capsys):
    result = task(model, 24)
    deliver(model, result, 1.0)
    found = json.loads((model.directory / "diagnostics.json").read_text())
    assert ("rhat/x0" in found) == compared and ("rhat/x0" in found["skipped"]) != compared, found
    assert len(Counted.runs) == (0 if isinstance(task, Compare) else 1)
    assert (model.directory / "chain.gif").is_file() and (model.directory / "diagnostics.png").is_file()


def test_options_of_a_task_are_its_fields():
    assert {field.name for field in fields(Inpaint)} == {"mask", "share", "input", "repeats"}
    with pytest.raises(ValueError, match="noise_std must be positive"):
        Denoise(noise_std=0)
