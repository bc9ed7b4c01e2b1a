"""Sweeps: one directory, a summary beside the jobs, failures that lose nothing, finished jobs passed over."""

from __future__ import annotations

import csv
import os

import pytest
from conftest import SMALL

from ebm_cli.config import ConfigError
from ebm_cli.config.check import refuse_storage
from ebm_cli.tables.sweeps import as_markdown, is_finished


def summary(folder):
    with (folder / "outputs" / "sweeps" / "s" / "summary.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_a_failed_job_loses_nothing_and_a_resumed_sweep_runs_it_alone(command, tmp_path):
    words = ("-m", *SMALL, "seed=1,2", "sampler.n_steps=2,0")
    status, _, err = command("ebm-train", *words, stamp="s")
    assert status == 1 and "n_steps" in err.splitlines()[-1]
    rows = summary(tmp_path)
    assert {(row["seed"], row["sampler.n_steps"]): row["state"] for row in rows} == {
        ("1", "2"): "finished", ("2", "2"): "finished", ("1", "0"): "failed", ("2", "0"): "failed",
    }  # fmt: skip
    assert float(rows[0]["validation/energy_distance"]) > 0
    directories = {path.name for path in (tmp_path / "outputs" / "sweeps" / "s").iterdir() if path.is_dir()}
    assert directories == {f"{k}-mlp-digits-pcd" for k in range(4)}
    before = os.path.getmtime(tmp_path / "outputs/sweeps/s/0-mlp-digits-pcd/metrics.json")
    status, out, _ = command("ebm-train", "-m", *SMALL, "seed=1,2", "sampler.n_steps=2,1", stamp="s")
    assert status == 0 and out.count("finished before") == 2 and "sweep: outputs/sweeps/s" in out
    assert [row["state"] for row in summary(tmp_path)] == ["finished"] * 4
    assert os.path.getmtime(tmp_path / "outputs/sweeps/s/0-mlp-digits-pcd/metrics.json") == before


def test_a_job_is_finished_under_its_own_config_only(tmp_path):
    (tmp_path / "config.yaml").write_text("a: 1\n")
    assert not is_finished(tmp_path, "a: 1\n")
    (tmp_path / "metrics.json").write_text("{}")
    assert is_finished(tmp_path, "a: 1\n") and not is_finished(tmp_path, "a: 2\n")


def test_the_table_has_a_column_for_everything():
    table = as_markdown(
        [{"job": "0", "seed": "1", "state": "finished", "v": 0.123456}, {"job": "1", "state": "failed"}]
    )
    head, _, *jobs = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert head == ["job", "seed", "state", "v"]
    assert jobs == [["0", "1", "finished", "0.1235"], ["1", "", "failed", ""]]


def test_a_storage_that_cannot_be_opened_is_refused_with_the_reason(monkeypatch):
    versions = {"optuna": "2.10.1", "SQLAlchemy": "2.0.1"}
    monkeypatch.setattr("importlib.metadata.version", versions.__getitem__)
    with pytest.raises(ConfigError, match="optuna 2 cannot use SQLAlchemy 2"):
        refuse_storage(["hydra.sweeper.storage=sqlite:///x.db"])
    versions["SQLAlchemy"] = "1.4"
    refuse_storage(["hydra.sweeper.storage=sqlite:///x.db"])
    refuse_storage(["seed=1"])
