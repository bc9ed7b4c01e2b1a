"""Every objective through the command: trains, resumes bit for bit, diverges with a message, runs on two processes."""

from __future__ import annotations

import json

import pytest
import torch
from test_ddp import DDP, launch

QUICK = (
    "trainer.enable_progress_bar=false", "trainer.accelerator=cpu", "dataset.steps_per_epoch=3",
    "callbacks.pictures.number=4",
    "schedule.hold=1.0", "sample_steps=8",
)  # fmt: skip
NET = ("model.hidden=[16]", "dataset.batch_size=16")
TOY = ("dataset=8gaussians", *NET, "dataset.n_train=1000", "dataset.n_validation=100", "dataset.n_test=100")
DIGITS = ("dataset=digits", *NET)
CHAINS = ("sampler.n_steps=2", "buffer.size=64")
LEVELS = ("model.width=16", "dataset.batch_size=16")

OBJECTIVES = {
    "pcd": (*DIGITS, *CHAINS),
    "cd": (*DIGITS, *CHAINS),
    "short_run": (*DIGITS, *CHAINS),
    "improved_cd": (*DIGITS, *CHAINS),
    "jem": (*DIGITS, *CHAINS),
    "classifier": DIGITS,
    "nce": TOY,
    "jarzynski": (*TOY, "buffer.size=32", "buffer.witnesses=32", "sampler.n_steps=2"),
    "score_matching": TOY,
    "sliced": DIGITS,
    "denoising": DIGITS,
    "energy_discrepancy": TOY,
    "pseudo_likelihood": ("dataset=binary_digits", *NET, "sampler=gwg", "sampler.n_steps=2"),
    "multi_scale_denoising": ("experiment=digits_annealed", "objective=multi_scale_denoising", *LEVELS),
    "annealed": ("experiment=digits_annealed", "buffer.size=64", "objective.first=0.5", *LEVELS),
    "recovery": ("experiment=digits_recovery", "sampler.n_steps=16", "objective.first=0.5", *LEVELS),
    "energy_matching": (*DIGITS, "sampler=energy_matching", "base=gaussian", "sampler.n_steps=4", "objective.flow=0.5"),
    "rbm": ("experiment=digits_rbm", "dataset.batch_size=16", "buffer.size=64"),
    "tempering": (*TOY, "objective=pcd", "sampler=parallel_tempering", *CHAINS),
}


def words(name: str) -> list[str]:
    """The words that train an objective on few data."""
    chosen = any(word.startswith(("experiment=", "objective=")) for word in OBJECTIVES[name])
    choice = [] if chosen else [f"objective={name}"]
    return [*OBJECTIVES[name][:1], *choice, *OBJECTIVES[name][1:], *QUICK]


def equal(a, b) -> bool:
    """Whether two nests of dicts and lists hold the same values, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def last(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def run_of(folder, stamp="a"):
    (found,) = folder.glob(f"outputs/runs/*/{stamp}")
    return found


TWINS = {"cd", "short_run", "denoising", "multi_scale_denoising", "classifier"}  # share the code of another one


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in TWINS else ()) for name in OBJECTIVES]
)
def test_a_run_that_lost_its_last_epoch_makes_it_again_bit_for_bit(name, command, tmp_path):
    status, _, err = command("ebm-train", *words(name), "trainer.max_epochs=2", stamp="a")
    assert status == 0, err
    run = run_of(tmp_path)
    straight = last(run)
    file = run / "checkpoints" / "last.ckpt"
    file.write_bytes(file.read_bytes()[:1000])
    status, _, err = command("ebm-train", *words(name), "trainer.max_epochs=2", stamp="a")
    assert status == 0 and "going on from the one before it" in err, err
    again = last(run)
    assert again["global_step"] == straight["global_step"] == 6
    for part in ("state_dict", "current_model_state", "optimizer_states", "ranks"):
        if part in straight:
            assert equal(straight[part], again[part]), part
    learned = [v for k, v in straight["state_dict"].items() if v.is_floating_point()]
    assert all(v.isfinite().all() for v in learned)


# What makes each objective diverge, without clip and regularizer: far too high a rate; for chains also too large a step
# on a toy, which has no border.
UNBOUNDED = (*TOY, *CHAINS, "objective.energy_l2=0", "sampler.step_size=5")
WILD = {name: (UNBOUNDED, "optimizer.lr=1e3") for name in ("pcd", "cd", "improved_cd", "short_run")}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_diverges_stops_with_the_message(name, command, tmp_path):
    choice, rate = WILD.get(name, (None, "optimizer.lr=1e8"))
    start = words(name) if choice is None else [f"objective={name}", *choice, *QUICK]
    wild = (rate, "trainer.gradient_clip_val=null", "trainer.max_epochs=40", "schedule.warmup_steps=0")
    status, _, err = command("ebm-train", *start, *wild, stamp="a")
    said = [line for line in err.splitlines() if line.startswith("ebm-train:")]
    assert status == 1 and len(said) == 1, err
    assert "optimizer.lr=" in said[0] and any(w in said[0] for w in ("not finite", "guard.growth", "guard.nats"))


def test_steps_a_hundred_times_too_large_leave_the_guard_silent_on_digits(command, tmp_path):
    """Clamped chains sit in corners and the squared energies hold the gap at 1 / weight: nothing explodes."""
    settings = ("sampler.n_steps=5", "sampler.step_size=100", "objective.energy_l2=0.01", "trainer.max_epochs=100")
    status, _, err = command("ebm-train", "dataset=digits", *settings, *QUICK, stamp="a")
    assert status == 0, err
    measured = json.loads((run_of(tmp_path) / "metrics.json").read_text())["metrics"]
    assert measured["energy/gap"]["value"] == pytest.approx(100, rel=0.05)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "jarzynski" else pytest.mark.slow) for name in OBJECTIVES]
)
def test_two_processes_share_weights_and_walk_apart(name, tmp_path):
    process = launch(tmp_path, "ebm-train", *words(name), *DDP, "trainer.max_epochs=2", "trainer.log_every_n_steps=1")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err[-2000:]
    content = last(run_of(tmp_path))
    first, second = content["ranks"]
    assert content["global_step"] == 6 and not equal(first["random"], second["random"])
    populations = [rank["negatives"]["population"] for rank in (first, second)]
    if populations[0] is not None:
        assert not equal(*populations)
    assert not equal(first["negatives"], second["negatives"])


def leaves(nest) -> list[torch.Tensor]:
    """The tensors of a nest of dicts."""
    if isinstance(nest, dict):
        return [leaf for value in nest.values() for leaf in leaves(value)]
    return [nest] if isinstance(nest, torch.Tensor) else []
