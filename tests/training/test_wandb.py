"""Weights & Biases without key, terminal or home: no prompt, no crash; one run per run directory."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import SMALL

from ebm_cli.runs.loggers import identity, wandb_id

pytest.importorskip("wandb")


def offline_runs(folder: Path) -> list[str]:
    """Ids of the offline runs below a folder; the name of their directories ends with it."""
    found = folder.rglob("offline-run-*")
    return sorted(path.name.split("-", 3)[3] for path in found if path.is_dir())


def test_a_run_of_its_own_for_each_job_and_everything_logged(command, tmp_path, monkeypatch):
    import wandb

    logged, artifacts = [], []
    init = wandb.init

    def watched(*args, **kwargs):
        run = init(*args, **kwargs)
        monkeypatch.setattr(type(run), "log_artifact", lambda self, artifact, **more: artifacts.append(artifact.name))
        log = run.log
        run.log = lambda values, *rest, **more: (logged.append(values), log(values, *rest, **more))[1]
        return run

    monkeypatch.setattr(wandb, "init", watched)
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    words = (
        "logger=wandb",
        "logger.wandb.log_model=true",
        "callbacks.pictures.every_n_epochs=1",
        "callbacks.histograms.every_n_epochs=1",
        "trainer.max_epochs=1",
    )
    status, _, err = command("ebm-train", "-m", *SMALL, *words, "seed=1,2", stamp="s")
    assert status == 0, err
    assert offline_runs(tmp_path) == ["s-0-mlp-digits-pcd", "s-1-mlp-digits-pcd"]
    assert artifacts == [f"model-s-{job}-mlp-digits-pcd" for job in (0, 0, 1, 1)]  # the last and the best of each
    names = {name for values in logged for name in values}
    assert {
        "loss",
        "grad_norm",
        "samples",
        "histogram/age",
        "histogram/energy_data",
        "histogram/energy_chains",
    } <= names


def test_what_comes_later_goes_into_the_run_that_trained_the_model(tmp_path, monkeypatch):
    run = tmp_path / "outputs" / "runs" / "mlp-digits-pcd" / "a b"
    assert wandb_id(run) == "mlp-digits-pcd-a-b"
    assert identity("wandb", run) == {"id": "mlp-digits-pcd-a-b", "resume": "allow"}
    assert identity("history", run) == {}
    job = tmp_path / "outputs" / "sweeps" / "s" / "0-mlp"
    assert identity("wandb", job)["group"] == "s"
