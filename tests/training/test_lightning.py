"""Lightning's own callbacks work from an option file; every keyword of its Trainer works or is refused in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from conftest import SMALL

OWN = '''
import pytorch_lightning as pl


class CountUpdates(pl.Callback):
    """Writes how many updates it saw."""

    def __init__(self, *, file: str):
        self.file, self.count = file, 0

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.count += 1

    def on_train_end(self, trainer, module):
        with open(self.file, "w") as out:
            out.write(str(self.count))
'''


def option(folder: Path, name: str, node: dict) -> str:
    """Writes conf/callbacks/<name>.yaml of a user; returns the override that adds it."""
    (folder / "conf" / "callbacks").mkdir(parents=True, exist_ok=True)
    text = f"# @package callbacks.{name}\n{yaml.safe_dump(node)}"
    (folder / "conf" / "callbacks" / f"{name}.yaml").write_text(text)
    return f"callbacks=[default,{name}]"


def run_of(folder: Path) -> Path:
    return (folder / "outputs" / "runs" / "latest").resolve()


def rows(folder: Path) -> list[str]:
    return (run_of(folder) / "metrics.csv").read_text().splitlines()


def test_early_stopping_finds_the_validation_value(command, tmp_path):
    node = {
        "_target_": "pytorch_lightning.callbacks.EarlyStopping", "monitor": "validation/energy_distance",
        "patience": 1, "min_delta": 1e9, "mode": "min",
    }  # fmt: skip
    added = option(tmp_path, "early", node)
    status, _, err = command("ebm-train", "--config-dir", "conf", *SMALL, "trainer.max_epochs=9", added)
    assert status == 0, err
    assert len({row.split(",")[0] for row in rows(tmp_path)[1:]}) == 2  # two epochs: the second was no better


def test_a_model_checkpoint_of_the_users_own_monitors_what_is_logged(command, tmp_path):
    node = {
        "_target_": "pytorch_lightning.callbacks.ModelCheckpoint", "monitor": "energy/gap", "filename": "gap-{epoch}",
        "save_top_k": 2, "save_on_train_epoch_end": True,
    }  # fmt: skip
    added = option(tmp_path, "gap", node)
    status, _, err = command("ebm-train", "--config-dir", "conf", *SMALL, "trainer.log_every_n_steps=1", added)
    assert status == 0, err
    names = {file.name for file in (run_of(tmp_path) / "checkpoints").iterdir()}
    assert {"gap-epoch=0.ckpt", "gap-epoch=1.ckpt", "last.ckpt", "last-1.ckpt", "best.ckpt"} <= names


def test_the_learning_rate_monitor_and_a_timer_work(command, tmp_path):
    rate = option(tmp_path, "rate", {"_target_": "pytorch_lightning.callbacks.LearningRateMonitor"})
    option(tmp_path, "timer", {"_target_": "pytorch_lightning.callbacks.Timer", "duration": "00:00:00:00"})
    both = rate.replace("]", ",timer]")
    words = ("--config-dir", "conf", *SMALL, "trainer.log_every_n_steps=1", "trainer.max_epochs=50")
    status, _, err = command("ebm-train", *words, rate, "trainer.max_epochs=1")
    assert status == 0, err
    assert "lr-Adam" in rows(tmp_path)[0]
    status, _, err = command("ebm-train", *words, both)
    assert status == 0, err
    assert len(rows(tmp_path)) < 50  # the timer had nothing left


def test_a_callback_of_the_users_own(command, tmp_path, monkeypatch):
    (tmp_path / "counting.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("EBM_ALLOW", "counting")
    added = option(tmp_path, "count", {"_target_": "counting.CountUpdates", "file": str(tmp_path / "seen.txt")})
    status, _, err = command("ebm-train", "--config-dir", "conf", *SMALL, added)
    assert status == 0, err
    assert (tmp_path / "seen.txt").read_text() == "10"


def test_callbacks_are_dropped_from_the_shell(command, tmp_path):
    drops = ("callbacks.pictures=null", "callbacks.best=null", "callbacks.throughput=null", "ema_decay=null")
    status, _, err = command("ebm-train", *SMALL, *drops, "callbacks.last.earlier=0")
    assert status == 0, err
    assert [file.name for file in (run_of(tmp_path) / "checkpoints").iterdir()] == ["last.ckpt"]
    assert "steps_per_second" not in rows(tmp_path)[0]
    kept = yaml.safe_load((run_of(tmp_path) / "config.yaml").read_text())
    assert kept["callbacks"]["pictures"] is None


def test_validation_is_a_loop_of_lightning(command, tmp_path):
    """Its keywords decide when it runs, and what it logs is the objective's own value."""
    status, _, err = command("ebm-train", *SMALL, "trainer.check_val_every_n_epoch=2", "trainer.max_epochs=4")
    assert status == 0, err
    head, *body = (row.split(",") for row in rows(tmp_path))
    column = head.index("validation/energy_distance")
    assert [row[0] for row in body if len(row) > column and row[column]] == ["9", "19"]


def test_training_goes_on_as_if_there_had_been_no_validation(command, tmp_path):
    import torch

    for name, every in (("often", 1), ("never", 100)):
        words = (f"trainer.check_val_every_n_epoch={every}", f"name={name}")
        status, _, err = command("ebm-train", *SMALL, *words, stamp="x")
        assert status == 0, err
    often, never = (
        torch.load(tmp_path / f"outputs/runs/{name}/x/checkpoints/last.ckpt", weights_only=True)
        for name in ("often", "never")
    )
    assert all(torch.equal(value, never["state_dict"][key]) for key, value in often["state_dict"].items())


@pytest.mark.parametrize(
    "word",
    [
        "trainer.limit_val_batches=0", "trainer.limit_train_batches=2", "trainer.fast_dev_run=true",
        "trainer.max_epochs=0", "trainer.profiler=simple", "trainer.barebones=true", "trainer.precision=bf16-mixed",
        "trainer.num_sanity_val_steps=1", "trainer.val_check_interval=2", "trainer.accumulate_grad_batches=2",
        "trainer.detect_anomaly=true", "trainer.deterministic=true", "trainer.max_steps=3", "trainer.min_epochs=1",
        "trainer.gradient_clip_algorithm=value", "trainer.enable_model_summary=true",
        "trainer.reload_dataloaders_every_n_epochs=1", "trainer.log_every_n_steps=3", "trainer.max_time=00:00:00:01",
    ],
)  # fmt: skip
def test_keywords_of_the_trainer_work(command, tmp_path, word):
    status, _, err = command("ebm-train", *SMALL, word)
    assert status == 0, err
    run = run_of(tmp_path)
    assert (run / "samples.png").is_file() or "barebones" in word
    if "profiler" in word:
        assert "training_step" in (run / "fit-profile.txt").read_text()


@pytest.mark.parametrize(
    "word, right",
    [
        ("trainer.overfit_batches=1", "limit_train_batches"),
        ("trainer.precision=64-true", "32-true"),
        ("trainer.strategy=fsdp", "ddp"),
    ],
)
def test_keywords_that_cannot_be_kept_are_refused_in_one_line(command, word, right):
    status, _, err = command("ebm-train", *SMALL, word)
    assert status == 1 and right in err and err.count("\n") == 1, err


def test_metrics_of_a_run_are_the_means_between_two_rows(command, tmp_path):
    """Every update's loss counts once: rows of ten updates are the means of rows of one."""
    import csv

    tables = {}
    for every in (1, 5):
        words = ("trainer.max_epochs=2", f"trainer.log_every_n_steps={every}", f"name=every{every}")
        status, _, err = command("ebm-train", *SMALL, *words, stamp="x")
        assert status == 0, err
        with (tmp_path / f"outputs/runs/every{every}/x/metrics.csv").open() as lines:
            tables[every] = [float(row["loss"]) for row in csv.DictReader(lines)]
    assert len(tables[1]) == 10 and len(tables[5]) == 2
    means = [sum(tables[1][k : k + 5]) / 5 for k in (0, 5)]
    assert tables[5] == pytest.approx(means, rel=1e-5)


def test_the_final_numbers_are_the_last_ones_logged(command, tmp_path):
    status, _, err = command("ebm-train", *SMALL)
    assert status == 0, err
    metrics = json.loads((run_of(tmp_path) / "metrics.json").read_text())["metrics"]
    assert {"loss", "energy/gap", "validation/energy_distance", "lr"} <= set(metrics)
