"""Shared pieces of the tests: running a command in this process, and composing configs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch, tmp_path):
    """No test sees another's run stamp, caches or wandb settings."""
    for name in ("EBM_RUN_STAMP", "HYDRA_FULL_ERROR", "EBM_ALLOW"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.fixture
def command(monkeypatch, tmp_path, capfd):
    """``command("ebm-train", "seed=1")`` in an empty folder -> (exit status, standard output, standard error)."""
    modules = {f"ebm-{verb}": f"ebm_cli.{verb}" for verb in ("train", "sample", "table")}
    modules["ebm-eval"] = "ebm_cli.evaluate"
    monkeypatch.chdir(tmp_path)

    def run(verb: str, *words: str, stamp: str | None = None):
        for name in ("HYDRA_FULL_ERROR",):
            monkeypatch.delenv(name, raising=False)
        if stamp:
            monkeypatch.setenv("EBM_RUN_STAMP", stamp)
        else:
            monkeypatch.delenv("EBM_RUN_STAMP", raising=False)
        monkeypatch.setattr(sys, "argv", [verb, *words])
        status = 0
        try:
            importlib.import_module(modules[verb]).main()
        except SystemExit as stop:
            status = stop.code or 0
        out = capfd.readouterr()
        return status, out.out, out.err

    return run


SMALL = (
    "trainer.enable_progress_bar=false", "trainer.accelerator=cpu", "trainer.max_epochs=2", "dataset.steps_per_epoch=5",
    "dataset.batch_size=16", "model.hidden=[16]", "sampler.n_steps=3", "buffer.size=64",
)  # fmt: skip


# Metrics -----------------------------------------------------------------------------------------------------------


def subject(data, directory, energy=None, samples=None):
    """What a metric is called with: data, and an energy or samples or both."""
    from ebm_cli.runs.trained import TrainedModel

    return TrainedModel(energy, None, None, data, 10, None, 0, 10, Path(directory), None, samples=samples)


@pytest.fixture
def digits():
    """The real 8x8 digits in [-1, 1]."""
    from ebm_cli.datasets import Digits

    return Digits(value_range=[-1, 1])


@pytest.fixture
def untrained(monkeypatch):
    """A reference classifier without training, which every comparison of features can be tested with."""
    from ebm_cli.metrics import reference_classifier

    def load_or_train_reference(data):
        torch.manual_seed(0)
        return reference_classifier.ReferenceClassifier(data.shape, data.n_classes).eval().requires_grad_(False)

    monkeypatch.setattr("ebm_cli.metrics.fd_classifier.load_or_train_reference", load_or_train_reference)
