"""What the four commands say to likely mistakes: one line with the key, the value and what would be right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SMALL

MISTAKES = [
    ("train", ["optimizer.betas.0=0.5"], "give the list: optimizer.betas=[0.0,0.999]"),
    ("train", ["logger=null"], "logger=null: name an option; choose one of: csv, tensorboard, wandb"),
    ("train", ["sampler.grad_clip=-1"], "sampler.grad_clip=-1: must be above 0"),
    ("train", ["sampler.step_size=abc"], "sampler.step_size=abc: expected a number, got str"),
    ("train", ["sampler.temperature={a:1}"], "sampler.temperature={'a': 1}: expected a number, got dict"),
    ("train", ["seed=1,2"], "To sweep over it, add --multirun"),
    ("train", ["seed=\u0661"], "seed=\u0661: not readable as an override"),
    ("train", ["seed=-1"], "seed=-1: must be a whole number from 0"),
    ("train", ["lr=1e-3"], "did you mean optimizer.lr?"),
    ("train", ["nothing=1"], "nothing: unknown key; keys are: model, "),
    ("train", ["~seed"], "~seed: this command needs seed"),
    ("train", ["~nope"], "~nope: there is no such key"),
    ("train", ["=3"], "=3: the key is missing; write key=value"),
    ("train", ["tilted=2"], "tilted=2: must be true or false"),
    ("train", ["optimizer.lr=null"], "optimizer.lr=null: expected a number, got null"),
    ("train", ["optimizer.lr=nan"], "optimizer.lr=nan: must be a finite number"),
    ("train", ["threads=0"], "threads=0: must be at least 1"),
    ("train", ["sample_steps=0"], "sample_steps=0: must be at least 1"),
    ("train", ["trainer.max_epochs=-5"], "trainer.max_epochs=-5: must be at least 0, or -1 for no bound"),
    ("train", ["trainer.strategy=foo"], "trainer.strategy=foo: You selected an invalid strategy name"),
    ("train", ["trainer.devices=0"], "trainer.devices=0: "),
    ("train", ["sampler.boundary=soft"], "sampler.boundary=soft: expected 'clamp' or 'reflect' or null"),
    ("train", ["buffer.dtype=${nope}"], "buffer.dtype=${nope}: Interpolation key 'nope' not found"),
    ("train", ["name=../../x"], "name=../../x: a run's name is a folder below outputs/"),
    ("train", ["run=/nope"], "run=/nope: no run there"),
    ("train", ["dataset=npz", "dataset.file=/nope.npz"], "dataset.file=/nope.npz: no such file"),
    ("table", ["run_missing=2"], "run_missing=2: must be true or false"),
    ("table", ["seeds=[a]"], "seeds[0]: Value 'a' of type 'str' could not be converted to Integer"),
    ("sample", ["run=latest"], "run=latest: no run yet; train one with ebm-train"),
    ("eval", ["samples=/nope.npz", "dataset=digits"], "samples=/nope.npz: no such file"),
]


@pytest.mark.parametrize(("verb", "words", "said"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_answered_in_one_line(command, verb, words, said):
    status, _, err = command(f"ebm-{verb}", *words)
    lines = [line for line in err.splitlines() if line.startswith(f"ebm-{verb}: ")]
    assert status == 1 and len(lines) == 1 and said in lines[0], err
    assert "Traceback" not in err and "Errno" not in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(command):
    status, _, err = command("ebm-train", *[w for w in SMALL if "accelerator" not in w], "trainer=gpu")
    assert status == 1 and "trainer.accelerator=gpu: there is no GPU that torch can use; trainer=cpu" in err


def test_option_files_of_the_user_are_named_with_their_line(command, tmp_path):
    (tmp_path / "my" / "experiment").mkdir(parents=True)
    (tmp_path / "my" / "experiment" / "mine.yaml").write_text("seed: 1\n\tname: x\n")
    status, _, err = command("ebm-train", "--config-dir", "my", "experiment=mine")
    assert status == 1 and "my/experiment/mine.yaml, line 2: not readable as YAML" in err


def test_a_package_that_cannot_be_imported_is_named(command, tmp_path, monkeypatch):
    (tmp_path / "my" / "sampler").mkdir(parents=True)
    (tmp_path / "my" / "sampler" / "mine.yaml").write_text("_target_: nowhere_at_all.Walk\n")
    monkeypatch.setenv("EBM_ALLOW", "nowhere_at_all")
    status, _, err = command("ebm-train", "--config-dir", "my", "sampler=mine")
    assert status == 1 and "there is no package nowhere_at_all; put its folder on PYTHONPATH" in err


def test_fewer_epochs_than_a_run_has_behind_it(command, tmp_path):
    assert command("ebm-train", *SMALL, stamp="a")[0] == 0
    (run,) = tmp_path.glob("outputs/runs/*/a")
    before = (run / "config.yaml").read_text()
    status, _, err = command("ebm-train", f"run={run}", "trainer.max_epochs=1")
    assert status == 1 and "trainer.max_epochs=1: this run has 2 epochs behind it; give more" in err
    assert (run / "config.yaml").read_text() == before
    assert command("ebm-train", f"run={run}", "trainer.max_epochs=2")[0] == 0  # nothing left to train


def test_a_full_disk_names_the_file(command, tmp_path, monkeypatch):
    assert command("ebm-train", *SMALL, stamp="a")[0] == 0

    def full(*args, **more):
        raise OSError(28, "No space left on device", "outputs/samples/x/samples.npz")

    monkeypatch.setattr(np, "savez_compressed", full)
    status, _, err = command("ebm-sample", "num_samples=4", "sampler.n_steps=2")
    assert status == 1
    assert "outputs/samples/x/samples.npz: no space left on device; make room and go on" in err, err
