"""Trainings of a minute: what must be good is good, and what must be bad is bad."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.slow
QUIET = ("trainer.enable_progress_bar=false", "trainer.accelerator=cpu")


def evaluated(command, tmp_path, metric, *words):
    status, _, err = command("ebm-train", *QUIET, *words, stamp="r")
    assert status == 0, err
    status, _, err = command("ebm-eval", f"metric=[{metric}]", stamp="e")
    assert status == 0, err
    (file,) = tmp_path.glob("outputs/evals/*/e/metrics.json")
    return {name: found["value"] for name, found in json.loads(file.read_text())["metrics"].items()}


def test_the_default_run_makes_digits(command, tmp_path):
    found = evaluated(command, tmp_path, "fd_classifier")
    assert found["fd_classifier/q"] <= 0.3
    assert found["fd_classifier/nn_ratio"] >= 0.9
    assert found["fd_classifier/classes"] == 10


@pytest.mark.parametrize(
    "words",
    [("buffer.restart_probability=0", "buffer.size=512"), ("objective=cd",)],
    ids=["no restarts", "chains from data"],
)
def test_models_that_never_saw_noise_cannot_generate_from_it(command, tmp_path, words):
    found = evaluated(command, tmp_path, "fd_classifier", *words)
    assert found["fd_classifier/q"] >= 1.0


@pytest.mark.parametrize(
    ("name", "objective", "bound"),
    [("8gaussians", "nce", 0.04), ("rings", "nce", 0.04), ("checkerboard", "nce", 0.08), ("two_moons", "pcd", 0.1)],
)
def test_toys_come_close_to_their_density_in_a_minute(command, tmp_path, name, objective, bound):
    words = (f"dataset={name}", f"objective={objective}", "trainer.max_time=00:00:01:00")
    assert evaluated(command, tmp_path, "density", *words)["density/kl"] <= bound


def test_a_joint_model_classifies_in_a_minute(command, tmp_path):
    found = evaluated(command, tmp_path, "classifier", "objective=jem", "trainer.max_time=00:00:01:00")
    assert found["classifier/accuracy"] >= 0.97
    assert found["classifier/ece15"] <= 0.05 and found["classifier/nll"] <= 0.10
