"""ebm-sample and ebm-eval from the command line, on a run of a few steps."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import SMALL


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A joint model of a few steps, trained once."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["-c", "from ebm_cli.train import main; main()", *SMALL, "objective=jem"]
    subprocess.run([sys.executable, *words], cwd=folder, env={**os.environ, "EBM_RUN_STAMP": "a"}, check=True)
    return folder


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained / "outputs", tmp_path / "outputs", symlinks=True)
    return next(tmp_path.glob("outputs/runs/mlp-*/a"))


def samples_of(tmp_path, stamp):
    (folder,) = tmp_path.glob(f"outputs/samples/*/{stamp}")
    return folder


def test_every_file_of_the_contract(command, run, tmp_path):
    status, out, err = command("ebm-sample", "num_samples=20", "sampler.n_steps=7", stamp="s")
    assert status == 0, err
    folder = samples_of(tmp_path, "s")
    for name in ("samples.npz", "grid.png", "chain.gif", "diagnostics.json"):
        assert (folder / name).is_file(), name
    assert out.strip().splitlines()[-1] == f"samples: {folder}"
    arrays = np.load(folder / "samples.npz")
    assert arrays["samples"].shape == (20, 1, 8, 8) and arrays["energy"].shape == (20,)
    assert np.abs(arrays["samples"]).max() <= 1
    found = json.loads((folder / "diagnostics.json").read_text())
    assert found["n_steps"] == 7 and found["seconds"] > 0
    assert found["effective_temperature"] == pytest.approx(0.1**2 / 2)


def test_the_default_length_is_half_the_horizon_and_beyond_it_is_warned_of(command, run, tmp_path):
    command("ebm-sample", "num_samples=4", stamp="s")  # K / restart_probability = 3 / .03 = 100
    found = json.loads((samples_of(tmp_path, "s") / "diagnostics.json").read_text())
    assert found["n_steps"] == 50 and found["horizon"] == 100
    _, _, err = command("ebm-sample", "num_samples=4", "sampler.n_steps=101", stamp="t")
    assert "beyond 100" in err


def test_samples_depend_on_the_seed_alone_and_blocks_do_not_shift(command, run, tmp_path):
    for stamp, words in (("a1", []), ("a2", []), ("b", ["seed=5"]), ("more", ["num_samples=300"])):
        command("ebm-sample", "num_samples=250", "sampler.n_steps=4", *words, stamp=stamp)
    x = {s: np.load(samples_of(tmp_path, s) / "samples.npz")["samples"] for s in ("a1", "a2", "b", "more")}
    assert np.array_equal(x["a1"], x["a2"]) and not np.array_equal(x["a1"], x["b"])
    assert np.array_equal(x["more"][:250], x["a1"])  # a block of 250 is what it is, whatever comes after


def test_conditional_samples_carry_their_labels(command, run, tmp_path):
    status, _, err = command("ebm-sample", "task=conditional", "task.labels=[3,8]", "num_samples=5",
                             "sampler.n_steps=3", stamp="s")  # fmt: skip
    assert status == 0, err
    assert np.load(samples_of(tmp_path, "s") / "samples.npz")["y"].tolist() == [3, 8, 3, 8, 3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task=conditional", "task.labels=[11]"], "task.labels=11"),
        (["num_samples=0"], "num_samples=0"),
        (["sampler.n_steps=0"], "n_steps"),
        (["run=outputs/runs/none"], "no run there"),
        (["checkpoint=first"], "there are: best.ckpt"),
        (["dataset=8gaussians"], "shape"),
        (["sampler.step_sze=1"], "step_size"),
        (["task=nope"], "task=nope"),
    ],
)
def test_bad_words_are_one_line(command, run, words, said):
    status, _, err = command("ebm-sample", *words)
    lines = [line for line in err.splitlines() if line.startswith("ebm-sample:")]
    assert status == 1 and len(lines) == 1 and said in lines[0]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "malicious"])
def test_a_damaged_or_malicious_checkpoint_is_refused_and_nothing_runs(command, run, tmp_path, damage):
    import pickle

    import torch

    file = run / "checkpoints" / "last.ckpt"
    content = file.read_bytes()
    if damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        file.write_bytes(content[:200] + bytes([content[200] ^ 255]) + content[201:])
    elif damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, file)
    else:

        class Payload:
            def __reduce__(self):
                return (open, (str(tmp_path / "owned"), "w"))

        file.write_bytes(pickle.dumps({"state_dict": Payload()}))
    status, _, err = command("ebm-sample", "num_samples=4")
    assert not (tmp_path / "owned").exists()
    if damage != "flipped" or status:  # a flipped byte in padding may do no harm
        assert status == 1 and "last.ckpt" in err and "checkpoint" in err


def test_eval_measures_the_run_and_says_how(command, run, tmp_path):
    status, out, err = command("ebm-eval", "metric=[classifier]", stamp="e")
    assert status == 0, err
    (folder,) = tmp_path.glob("outputs/evals/*/e")
    found = json.loads((folder / "metrics.json").read_text())
    assert set(found) == {"run", "checkpoint_sha256", "commit", "versions", "seed", "metrics", "skipped"}
    assert "classifier/accuracy" in found["metrics"] and "classifier/ece15" in out


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("dataset=two_moons", "two_moons has shape (2,), the run's model (1, 8, 8)"),
        ("dataset=binary_digits", "binary_digits is binary, the run's model knows in [-1, 1]"),
        ("dataset.value_range=[0,1]", "digits is in [0, 1], the run's model knows in [-1, 1]"),
    ],
)
def test_data_that_the_model_was_not_made_for_are_refused_in_one_line(command, run, word, said):
    for program in ("ebm-eval", "ebm-sample"):
        status, _, err = command(program, f"run={run}", word)
        assert status == 1 and err.strip().splitlines()[-1] == f"{program}: dataset: {said}"


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_kept_chains_come_back_in_the_units_of_the_data(command, untrained, tmp_path, dtype):
    words = [*SMALL, f"buffer.dtype={dtype}", "buffer.size=460", "recipe.start=data", "sampler.n_steps=1"]
    status, _, err = command(
        "ebm-train", *words, "sampler.step_size=1e-9", "sampler.noise_std=0", "buffer.restart_probability=0"
    )
    assert status == 0, err
    words = ("run=latest", "metric=[fd_classifier]", "metric.fd_classifier.long_run=null")
    status, _, err = command("ebm-eval", *words, stamp="k")
    assert status == 0, err
    (folder,) = tmp_path.glob("outputs/evals/*/k")
    found = json.loads((folder / "metrics.json").read_text())["metrics"]
    distances = {name: found[f"fd_classifier{name}"]["value"] for name in ("", "/kept", "/gaussian")}
    assert distances["/kept"] < distances["/gaussian"] / 3 < distances[""] / 3  # training images beside noise
