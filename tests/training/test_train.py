"""ebm-train from the command line to the files of a run; exact resume; divergence."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import CONF, ROOT, SMALL

from ebm_cli.runs.trained import load_energy

TOY = (*SMALL, "dataset=8gaussians", "sampler.n_steps=2")


def weights(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def only_run(tmp_path, stamp):
    (found,) = tmp_path.glob(f"outputs/runs/*/{stamp}")
    return found


def test_a_run_leaves_every_file_of_the_contract(command, tmp_path):
    status, out, err = command("ebm-train", *SMALL, "callbacks.pictures.every_n_epochs=1", stamp="a")
    run = only_run(tmp_path, "a")
    assert status == 0, err
    for name in (
        ".hydra/config.yaml", "config.yaml", "train.log", "metrics.csv", "metrics.json", "samples.png", "energies.png",
        "curves.png", "samples/epoch_0001.png", "checkpoints/last.ckpt",
    ):  # fmt: skip
        assert (run / name).is_file(), name
    assert (tmp_path / "outputs/runs/latest").resolve() == run.resolve()
    assert out.rstrip().splitlines()[-2].endswith(f"ebm-sample run={run}")
    final = json.loads((run / "metrics.json").read_text())
    assert set(final) == {"run", "checkpoint_sha256", "commit", "versions", "seed", "metrics", "skipped"}
    assert set(final["metrics"]["energy/data"]) == {"value", "stderr", "n", "protocol"}
    assert not list(run.rglob("*.part"))


def test_the_trained_energy_is_one_line_away(command, tmp_path):
    command("ebm-train", *SMALL, stamp="a")
    energy = load_energy(only_run(tmp_path, "a"))
    assert energy(torch.zeros(3, 1, 8, 8)).shape == (3,)
    assert not any(p.requires_grad for p in energy.parameters()) and not energy.training


def test_resuming_gives_the_same_bits_as_never_stopping(command, tmp_path):
    """T19 through the command line: 4 epochs = 2 epochs + 2 resumed epochs, weights, EMA, chains, ages and noise."""
    hold = ("schedule.hold=1.0",)
    command("ebm-train", *SMALL, *hold, "trainer.max_epochs=4", stamp="straight")
    command("ebm-train", *SMALL, *hold, "trainer.max_epochs=2", stamp="broken")
    command("ebm-train", *SMALL, *hold, "trainer.max_epochs=4", stamp="broken")
    straight, broken = weights(only_run(tmp_path, "straight")), weights(only_run(tmp_path, "broken"))
    assert straight["global_step"] == broken["global_step"] == 20
    for part in ("state_dict", "current_model_state"):
        for key, value in straight[part].items():
            assert torch.equal(value, broken[part][key]), key
    for key, value in straight["ranks"][0]["negatives"]["population"].items():
        resumed = broken["ranks"][0]["negatives"]["population"][key]
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(resumed)), key
    assert torch.equal(straight["ranks"][0]["random"]["cpu"], broken["ranks"][0]["random"]["cpu"])


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(command, tmp_path):
    for stamp, seed in (("a", 0), ("b", 0), ("c", 1)):
        command("ebm-train", *TOY, f"seed={seed}", stamp=stamp)
    a, b, c = (weights(only_run(tmp_path, s))["state_dict"] for s in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not all(torch.equal(a[k], c[k]) for k in a if "weight" in k)


def test_a_run_that_diverges_stops_in_one_line_with_what_to_try(command, tmp_path):
    words = ("optimizer.lr=1e3", "trainer.gradient_clip_val=null", "objective.energy_l2=0", "trainer.max_epochs=60")
    status, _, err = command("ebm-train", *TOY, *words, "sampler.step_size=5", stamp="a")
    last = [line for line in err.splitlines() if line.startswith("ebm-train:")]
    assert status == 1 and len(last) == 1
    assert any(word in last[0] for word in ("not finite", "guard.growth", "guard.nats"))
    assert "optimizer.lr=" in last[0] and "trainer.gradient_clip_val=1" in last[0]


def test_the_guard_watches_growth_not_scale():
    from ebm_cli.samplers import DivergenceError
    from ebm_cli.training.callbacks.guard import DivergenceGuard

    guard = DivergenceGuard(growth=1000, window=20, nats=1e6)
    for step in range(40):
        guard.check_gap(1e-6 * (1 + step % 3), step, 1.0)
    guard.check_gap(5e-4, 40, 1.0)
    with pytest.raises(DivergenceError, match="running median"):
        guard.check_gap(1.0, 41, 1.0)
    with pytest.raises(DivergenceError, match="guard.nats"):
        guard.check_gap(1e-3, 42, 1e-10)


def test_compile_is_refused_where_it_cannot_work_and_keeps_the_names_of_weights():
    from ebm_cli.models import MLP

    energy = MLP((2,), hidden=[4])
    names = set(energy.state_dict())
    energy.compile()
    assert set(energy.state_dict()) == names


@pytest.mark.parametrize(("key", "timer"), [("trainer.max_time", "Timer"), ("cpu_time", "CPUTimer")])
def test_a_budget_of_time_ends_at_an_epoch_and_counts_over_resumes(command, tmp_path, key, timer):
    status, _, err = command("ebm-train", *TOY, f"{key}=00:00:00:02", "trainer.max_epochs=-1", stamp="a")
    assert status == 0, err
    run = only_run(tmp_path, "a")
    content = weights(run)
    (spent,) = [v["time_elapsed"]["train"] for k, v in content["callbacks"].items() if k == timer]
    assert content["global_step"] % 5 == 0 and 2 <= spent < 10
    assert command("ebm-train", f"run={run}")[0] == 0  # nothing is left
    assert weights(run)["global_step"] == content["global_step"]


def test_a_budget_that_is_no_duration_is_refused(command):
    status, _, err = command("ebm-train", *TOY, "cpu_time=60", stamp="a")
    assert status != 0 and "cpu_time" in err and "DD:HH:MM:SS" in err and len(err.strip().splitlines()) == 1


def test_run_equals_path_goes_on_in_the_same_directory_with_new_words(command, tmp_path):
    command("ebm-train", *SMALL, stamp="a")
    run = only_run(tmp_path, "a")
    status, _, err = command("ebm-train", f"run={run}", "trainer.max_epochs=3", "optimizer.lr=5e-4")
    assert status == 0, err
    content = weights(run)
    assert content["global_step"] == 15
    assert content["optimizer_states"][0]["param_groups"][0]["initial_lr"] == 5e-4
    assert (run / "config.1.yaml").is_file() and "lr: 0.0005" in (run / "config.yaml").read_text()
    assert len(list(tmp_path.glob("outputs/runs/mlp-*/*"))) == 1


def test_a_run_that_is_not_there_is_said(command):
    status, _, err = command("ebm-train", "run=outputs/runs/none")
    assert status == 1 and "run=outputs/runs/none: no run there" in err


@pytest.mark.parametrize(
    ("words", "warns"),
    [(["sampler.step_size=0.01"], True), ([], False), (["sampler.step_size=0.01", "sampler.noise_std=0.01"], False)],
)
def test_steps_too_long_for_a_toys_narrowest_feature_are_warned_of(words, warns):
    import warnings

    from ebm_cli import config
    from ebm_cli.training.trainer import warn_of_long_steps

    data = config.build(config.option_node("dataset", "rings"), "dataset")
    values = {"step_size": config.option_node("recipe", "rings")["step_size"], "noise_std": None} | dict(
        (k.split(".")[1], float(v)) for k, v in (w.split("=") for w in words)
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_long_steps({"sampler": values}, data)
    assert bool(caught) == warns


def test_resnet_trains_on_files_in_cifars_own_format(command, tmp_path):
    import subprocess
    import sys

    script = [sys.executable, str(ROOT / "scripts" / "make_small_datasets.py"), str(tmp_path / "data")]
    subprocess.run([*script, "--only", "cifar10"], check=True, capture_output=True)
    words = [w for w in SMALL if not w.startswith(("model.", "dataset."))]
    words += ["model=resnet", "dataset=cifar10", f"dataset.root={tmp_path / 'data'}", "model.width=8"]
    words += ["dataset.steps_per_epoch=2", "dataset.batch_size=4", "trainer.max_epochs=1"]
    for conditional in ("false", "true"):
        status, _, err = command("ebm-train", *words, f"model.conditional={conditional}", stamp=conditional)
        assert status == 0, err
    status, _, err = command("ebm-train", *words, "dataset.root=nowhere")
    assert status == 1 and "cifar-10-batches-py" in err


def test_presets_compose_and_name_their_run(command):
    for file in (CONF / "experiment").glob("*.yaml"):
        status, out, err = command("ebm-train", f"experiment={file.stem}", "--cfg", "job")
        assert status == 0 and f"name: {file.stem}" in out, err


def test_bad_values_are_judged_in_batches_and_named_by_their_update():
    from types import SimpleNamespace

    from ebm_cli.samplers import DivergenceError
    from ebm_cli.training.callbacks.guard import DivergenceGuard

    guard = DivergenceGuard(growth=1000, window=20, nats=50)
    module = SimpleNamespace(recent=[{}], objective=SimpleNamespace(uses_chains=False))
    for step in range(1, 10):
        trainer = SimpleNamespace(global_step=step, log_every_n_steps=10)
        loss = torch.tensor(float("nan") if step == 7 else 1.0)
        guard.on_train_batch_end(trainer, module, {"loss": loss}, None, 0)
    with pytest.raises(DivergenceError, match="update 10"):
        module.state_dict = lambda: {"running_var": torch.tensor([1.0, float("nan")])}
        clean = DivergenceGuard(growth=1000, window=20, nats=50)
        clean.on_train_epoch_end(SimpleNamespace(global_step=10), module)
    with pytest.raises(DivergenceError, match="update 7"):
        guard.on_exception(None, module, DivergenceError("a chain"))


def test_the_running_median_is_that_of_the_last_values():
    from ebm_cli.training.callbacks.guard import RunningMedian

    values = torch.randn(50, generator=torch.Generator().manual_seed(0)).tolist()
    running = RunningMedian(7)
    for k, value in enumerate(values):
        running.append(value)
        last = sorted(values[max(0, k - 6) : k + 1])
        assert running.median() == last[len(last) // 2]


def test_the_weight_average_is_the_exponential_one():
    from types import SimpleNamespace

    import pytorch_lightning as pl

    from ebm_cli.training.callbacks.average import WeightAverage

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(3))
            self.register_buffer("b", torch.zeros(2))

    module, average = Module(), WeightAverage(decay=0.9)
    average.setup(None, module, "fit")
    expected = None
    for step in range(1, 6):
        module.w.data.fill_(float(step))
        module.b.fill_(float(step))
        expected = float(step) if expected is None else 0.9 * expected + 0.1 * step
        for _ in range(2):  # the second is another batch of the same update
            average.on_train_batch_end(SimpleNamespace(global_step=step), module, None, None, 0)
    average.on_train_end(None, module)
    torch.testing.assert_close(module.w.detach(), torch.full((3,), expected))
    assert module.b.tolist() == [5.0, 5.0]


def test_optimizers_are_fused_unless_gradients_are_scaled():
    from types import SimpleNamespace

    from ebm_cli.training.optim import build_optimizer

    w = torch.nn.Parameter(torch.ones(3))
    for scaler, wanted in ((None, True), (object(), None)):
        optimizer = build_optimizer({"_target_": "torch.optim.Adam"}, [w], SimpleNamespace(scaler=scaler))
        assert optimizer.param_groups[0]["fused"] is wanted
        w.grad = torch.ones(3)
        optimizer.step()
