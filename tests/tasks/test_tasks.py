"""Tasks of ebm-sample against closed forms, and the one line that bad input gets."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import SMALL
from omegaconf import OmegaConf

from ebm_cli.config import ConfigError
from ebm_cli.datasets.exact import Exact
from ebm_cli.energies import Gaussian, GaussianBase, GaussianMixture, Measured, Projected
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.samplers import HMC, MALA, Langevin
from ebm_cli.tasks import Compare, Denoise, Inpaint, LongRun
from ebm_cli.tasks.inputs import mask_of
from ebm_cli.tasks.restore import put_back
from ebm_cli.tasks.task import run_chains

COVARIANCE = torch.tensor([[1.0, 0.8, 0.3], [0.8, 2.0, -0.4], [0.3, -0.4, 1.5]], dtype=torch.float64)


def subject(sampler, n_steps=200, dim=3):
    energy = Gaussian(dim=dim, covariance=COVARIANCE.tolist()) if dim == 3 else Gaussian(dim=dim)
    data = Exact(energy, "gaussian", 0)
    return TrainedModel(energy, GaussianBase((dim,)), sampler, data, n_steps, None, 0, 10, None, None)


def test_inpainting_follows_the_conditional_law_of_a_gaussian():
    """x_3 given x_1, x_2: mean S_ab S_bb^-1 b, variance S_aa - S_ab S_bb^-1 S_ba."""
    on = subject(HMC(n_steps=40, step_size=0.4, n_leapfrog=5), n_steps=40)
    n, known = 6000, torch.tensor([0.7, -1.1, 0.0])
    mask = torch.tensor([1.0, 1.0, 0.0])
    energy = Projected(on.energy, put_back, torch.stack([known, mask]).expand(n, 2, 3))
    x = run_chains(on, energy, n)[0].x.double()
    a = COVARIANCE[2:, :2] @ torch.linalg.inv(COVARIANCE[:2, :2])
    mean, variance = float(a @ known[:2].double()), float(COVARIANCE[2, 2] - a @ COVARIANCE[:2, 2])
    assert torch.allclose(x[:, :2], known[:2].double().expand(n, 2))
    assert float(x[:, 2].mean()) == pytest.approx(mean, abs=4 * (variance / n) ** 0.5)
    assert float(x[:, 2].var()) == pytest.approx(variance, rel=4 * (2 / n) ** 0.5)


def test_two_hidden_entries_have_the_conditional_mean_and_covariance():
    """x_2, x_3 given x_1 = b: mean S_hb b / S_bb, covariance S_hh - S_hb S_bh / S_bb, which is not diagonal."""
    on, n, b = subject(HMC(n_steps=40, step_size=0.4, n_leapfrog=5), n_steps=40), 8000, -1.3
    known, mask = torch.tensor([b, 0.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    energy = Projected(on.energy, put_back, torch.stack([known, mask]).expand(n, 2, 3))
    hidden = run_chains(on, energy, n)[0].x.double()[:, 1:]
    across = COVARIANCE[1:, :1]
    covariance = COVARIANCE[1:, 1:] - across @ across.T
    error = hidden.mean(0) - across[:, 0] * b
    assert (error.abs() < 4 * (covariance.diagonal() / n).sqrt()).all()
    assert (torch.cov(hidden.T) - covariance).abs().max() < 0.08  # the off-diagonal entry is -.64
    assert float(covariance[0, 1]) == pytest.approx(-0.64)


def test_a_soft_measurement_has_the_posterior_of_a_gaussian():
    on = subject(MALA(n_steps=150, step_size=0.15), n_steps=150)
    n, b, s = 6000, torch.tensor([0.5, 1.0, -0.5]), 0.7
    x = run_chains(on, Measured(on.energy, lambda v: v, b.expand(n, 3), s), n)[0].x.double()
    precision = torch.linalg.inv(COVARIANCE) + torch.eye(3, dtype=torch.float64) / s**2
    covariance = torch.linalg.inv(precision)
    mean = covariance @ b.double() / s**2
    assert (x.mean(0) - mean).abs().max() < 5 * float(covariance.diagonal().max() / n) ** 0.5
    assert (torch.cov(x.T) - covariance).abs().max() < 0.03


def test_restorations_say_how_good_they_are():
    found = Inpaint(mask="half", repeats=64)(subject(HMC(n_steps=20, step_size=0.4), n_steps=20), 50)
    errors = {name.split("/")[1]: v for name, v in found.figures.items() if name.startswith("squared_error/")}
    assert errors["mean_of_64"] < errors["one_restoration"] and errors["mean_of_64"] < errors["mean_fill"]
    assert errors["one_restoration"] == pytest.approx(2 * errors["mean_of_64"], rel=0.6)  # variance twice, or once
    assert errors["corrupted"] > errors["mean_of_64"]
    assert set(found.inputs) == {"true", "corrupted", "mean"} and len(found.samples.x) == 50


@pytest.mark.parametrize(("mask", "hidden"), [("box", 4), ("half", 8), ("random", None)])
def test_masks_hide_their_share(mask, hidden):
    known = mask_of(mask, 0.25, (1, 4, 4), 500, torch.Generator().manual_seed(0))
    gone = (1 - known).flatten(1).sum(1)
    assert known.shape == (500, 1, 4, 4)
    assert (gone == hidden).all() if hidden else float(gone.mean()) == pytest.approx(4.0, abs=0.3)


def test_masks_of_another_size_are_refused(tmp_path):
    from PIL import Image

    Image.new("L", (5, 5)).save(tmp_path / "m.png")
    with pytest.raises(ConfigError, match="m.png: is \\(5, 5\\)"):
        mask_of(str(tmp_path / "m.png"), 0.25, (1, 4, 4), 2, torch.Generator())
    with pytest.raises(ConfigError, match="no such mask"):
        mask_of("circle", 0.25, (1, 4, 4), 2, torch.Generator())


def test_measurements_too_stiff_for_the_step_are_refused():
    with pytest.raises(ConfigError, match="too stiff for the sampler"):
        Denoise(noise_std=0.05)(subject(Langevin(n_steps=5, step_size=0.1)), 4)


def test_long_chains_of_a_converged_sampler_stay():
    figures = LongRun(times=3)(subject(HMC(n_steps=30, step_size=0.4), n_steps=30), 800).figures
    for half in ("from_data", "from_noise"):
        assert abs(figures[f"energy_gap/{half}/end"]) < 0.25 and figures[f"drift/{half}/end"] < 0.25
    assert figures["n_steps_long"] == 90


def test_comparison_tells_good_samplers_from_bad(capsys):
    on = subject(MALA(n_steps=5, step_size=0.1))
    on.config = OmegaConf.create({"recipe": {"step_size": 1e-4, "boundary": None}})
    found = Compare(samplers=["hmc", "sgld"], n_steps=200)(on, 40).figures
    assert found["hmc/rhat"] < 1.1 < 1.5 < found["sgld/rhat"]
    spent = 200 * 40 * 10  # evaluations: ten per trajectory
    assert 200 * 40 * 0.04 < found["hmc/ess_per_evaluation"] * spent < 200 * 40 * 2
    assert found["sgld/ess_per_evaluation"] * 200 * 40 < 200  # little more than the independent starts
    assert "| hmc " in capsys.readouterr().out
    with pytest.raises(ConfigError, match="sampler=nope: no such option"):
        Compare(samplers=["nope"])(on, 4)


def test_one_report_shows_tempering_succeed_and_plain_mala_fail():
    """Modes at -4 and 4 of masses .3 and .7, chains started in both: half of MALA's stay in each."""
    energy = GaussianMixture()
    on = TrainedModel(
        energy, GaussianBase((2,)), MALA(n_steps=5), Exact(energy, "mixture", 0), 5, None, 0, 10, None, None
    )
    on.config = OmegaConf.create({"recipe": {}})
    names = ["mala", "parallel_tempering"]
    task = Compare(samplers=names, n_steps=500, step_sizes=[0.3, 0.3], start=[[-4.0, 0.0], [4.0, 0.0]])
    found = task(on, 1000).figures
    assert found["parallel_tempering/share_0"] == pytest.approx(0.3, abs=0.04)
    assert found["parallel_tempering/rhat"] < 1.1 < 1.5 < found["mala/rhat"]
    assert found["mala/share_0"] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"samplers": ["smc"]}, "smc weighs its chains"),
        ({"samplers": ["parallel_tempering", "gibbs"], "step_sizes": [0.1, 0.1]}, "gibbs has no step size"),
        ({"samplers": ["mala"], "start": [[1.0, 2.0]]}, "list of inputs of shape \\(3,\\)"),
        ({"samplers": ["gibbs"]}, "Gibbs samples binary"),
        ({"samplers": ["mala"], "step_sizes": [0.1, 0.2]}, "one per sampler: 1 samplers, 2 step_sizes"),
    ],
)
def test_comparisons_that_make_no_sense_are_refused(options, said):
    on = subject(MALA(n_steps=5))
    on.config = OmegaConf.create({"recipe": {}})
    with pytest.raises(ValueError, match=said):
        Compare(n_steps=10, **options)(on, 4)


def test_closed_forms_are_sampled_without_a_run(command, tmp_path):
    status, _, err = command("ebm-sample", "model=gaussian_mixture", "sampler=mala", "num_samples=20", stamp="m")
    assert status == 0, err
    (directory,) = tmp_path.glob("outputs/samples/gaussian_mixture/m")
    assert {"samples.npz", "samples.png", "chain.gif", "diagnostics.json"} <= {f.name for f in directory.iterdir()}
    said = json.loads((directory / "diagnostics.json").read_text())
    assert "chain/acceptance" in said and "rhat/x0" in said
    for words, expected in (
        (("model=gaussian", "sampler=gibbs"), "samples"),
        (("model=ising", "sampler=langevin"), "Langevin samples real or box inputs"),
        (("model=gaussian", "task=compare"), "samplers must name at least one option"),
        (("model=mlp",), "needs data"),
        (("model=gaussian", "sampler=mala", "sampler.n_steps=0"), "sampler.n_steps=0: must be at least 1"),
    ):
        status, _, err = command("ebm-sample", *words)
        assert status == 1 and expected in err.splitlines()[-1], err


def test_ones_own_images_and_a_painted_mask(command, tmp_path):
    """Grey levels 0 and 255 are the ends of the range; what the PNG leaves black stays as it was."""
    from PIL import Image

    assert command("ebm-train", *SMALL, stamp="a")[0] == 0
    (tmp_path / "mine").mkdir()
    for name, level in (("a", 0), ("b", 255)):
        Image.new("L", (16, 16), level).save(tmp_path / "mine" / f"{name}.png")
    hidden = np.zeros((8, 8), np.uint8)
    hidden[2:4, 5] = 255
    Image.fromarray(hidden).save(tmp_path / "mask.png")
    words = ("task=inpaint", f"task.mask={tmp_path / 'mask.png'}", f"task.input={tmp_path / 'mine'}")
    status, _, err = command("ebm-sample", *words, "task.repeats=2", "sampler.n_steps=3", stamp="s")
    assert status == 0, err
    (folder,) = tmp_path.glob("outputs/samples/*/s")
    x, inputs = np.load(folder / "samples.npz")["samples"], np.load(folder / "inputs.npz")
    assert [image.mean() for image in inputs["true"]] == pytest.approx([-1.0, 1.0], abs=1e-6)
    changed = (x != inputs["true"]).any((0, 1))
    assert changed[2:4, 5].all() and changed.sum() == 2


def test_runs_of_other_shapes_do_not_compose(command, tmp_path):
    command("ebm-train", *SMALL, stamp="a")
    (run,) = tmp_path.glob("outputs/runs/*/a")
    short = (*[w for w in SMALL if "model" not in w], "model.hidden=[8]", "dataset=two_moons")
    assert command("ebm-train", *short, stamp="b")[0] == 0
    (other,) = tmp_path.glob("outputs/runs/*two_moons*/b")
    status, _, err = command("ebm-sample", "task=compose", f"task.runs=[{run},{other}]", "num_samples=4")
    assert status == 1 and "has shape (2,)" in err
    status, out, err = command("ebm-sample", "task=compose", f"task.runs=[{run},{run}]", "num_samples=4", stamp="c")
    assert status == 0, err
