"""Every typo is one line that names the key and lists the choices; every option is the keywords of its class."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Literal

import pytest
import yaml
from conftest import CONF, ROOT, SMALL
from omegaconf import OmegaConf

from ebm_cli import config
from ebm_cli.config import ConfigError, build
from ebm_cli.config.build import SUPPLIED, check_keywords, collect_parameters, resolve

OPTIONS = sorted(
    (folder.name, file.stem)
    for folder in CONF.iterdir()
    if folder.is_dir() and folder.name not in ("experiment", "logger", "recipe", "table", "__pycache__")
    for file in folder.glob("*.yaml")
    if not file.stem.startswith("_")
)


# The typo matrix ---------------------------------------------------------------------------------------------------

TYPOS = [
    (["seeed=1"], ["seeed", "did you mean seed"]),
    (["sampler.step_sze=1"], ["sampler.step_sze", "did you mean step_size", "n_steps"]),
    (["model.widht=3"], ["model.widht", "hidden"]),
    (["trainer.max_epoch=3"], ["trainer.max_epoch", "did you mean max_epochs"]),
    (["samplr=langevin"], ["samplr", "did you mean sampler"]),
    (["sampler=nope"], ["sampler=nope", "langevin"]),
    (["callbacks=[default,nope]"], ["callbacks=nope", "guard"]),
    (["seed=abc"], ["seed=abc", "Integer"]),
    (["sampler.n_steps=abc"], ["sampler.n_steps=abc", "integer"]),
    (["+seeed=1"], ["seeed", "did you mean seed"]),
    (["++seeed=1"], ["seeed", "did you mean seed"]),
    (["+sampler.foo=2"], ["sampler.foo", "step_size"]),
    (["++optimizer.lrr=2"], ["optimizer.lrr", "did you mean lr"]),
    (["+schedule.warm=2"], ["schedule.warm", "warmup_steps"]),
    (["+recipe.nn=2"], ["recipe.nn", "n_steps"]),
    (["buffer.start=nose"], ["buffer.start", "noise, data", "nose"]),
    (["model._target_=os.system"], ["os.system", "EBM_ALLOW"]),
    (["model._target_=torch.nn.modules.module.torch.hub.load"], ["hub.load", "EBM_ALLOW"]),
]


@pytest.mark.parametrize(("words", "expected"), TYPOS, ids=[" ".join(w) for w, _ in TYPOS])
def test_a_typo_is_one_line_that_names_the_key_and_the_choices(command, words, expected):
    status, _, err = command("ebm-train", *words, "trainer.enable_progress_bar=false")
    lines = [line for line in err.splitlines() if line.startswith("ebm-train:")]
    assert status == 1
    assert len(lines) == 1 and "Traceback" not in err
    for word in expected:
        assert word in lines[0]


PRESETS = {
    "typo": ("seeed: 3\n", [], ["seeed"]),
    "nested": ("sampler:\n  step_sze: 2\n", [], ["sampler.step_sze", "step_size"]),
    "left": (
        "defaults:\n  - override /optimizer: adam\noptimizer:\n  betas: [0.5, 0.9]\n",
        ["optimizer=sgd"],
        ["optimizer.betas", "optimizer=sgd", "optimizer=adam"],
    ),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_as_strict_as_the_command_line(command, tmp_path, name):
    text, words, expected = PRESETS[name]
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    (folder / f"{name}.yaml").write_text("# @package _global_\n" + text)
    status, _, err = command("ebm-train", "--config-dir", str(tmp_path / "mine"), f"experiment={name}", *words)
    assert status == 1
    for word in expected:
        assert word in err


def test_an_unknown_preset_lists_the_users_own(command, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "good.yaml").write_text("# @package _global_\nseed: 3\n")
    _, _, err = command("ebm-train", "--config-dir", str(tmp_path / "mine"), "experiment=bad")
    assert "experiment=bad" in err and "good" in err


# Options are keyword arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_an_option_is_the_keywords_of_its_class(group, option):
    node = config.option_node(group, option)
    if (group, option) in (("base", "recipe"), ("callbacks", "default")):
        pytest.skip("it only names other options")
    node = node.get(option, node) if "_target_" not in node else node
    target = resolve(node.pop("_target_"), f"{group}.{option}")
    takes = [p for p in collect_parameters(target)[0].values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    names = [p.name for p in takes if p.name not in SUPPLIED]
    assert set(node) <= set(names)
    if target.__module__.startswith("ebm_cli."):
        assert sorted(node) == sorted(names)  # in the order that reads best: a dataclass has its parents' fields first


def test_trainer_options_are_all_keywords_of_lightnings_trainer():
    import pytorch_lightning as pl

    ours = set(config.option_node("trainer", "default")) - {"_target_"}
    fixed = {"self", "logger", "callbacks", "default_root_dir", "enable_checkpointing", "use_distributed_sampler"}
    assert ours | fixed == set(inspect.signature(pl.Trainer.__init__).parameters)


# build() -----------------------------------------------------------------------------------------------------------


def test_build_fills_in_what_the_class_takes_and_nests():
    sampler = build({"_target_": "ebm_cli.samplers.Langevin", "n_steps": 7, "step_size": 0.5}, "sampler", shape=(3,))
    assert sampler.n_steps == 7


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.serialization.os.system",
        "torch.hub.load",
        "builtins.eval",
        "ebm_cli.runs.trained.subprocess.run",
    ],
)
def test_build_refuses_foreign_targets_by_their_own_module(target):
    with pytest.raises(ConfigError, match="not a class of"):
        build({"_target_": target}, "model")


def test_one_explicit_setting_allows_the_users_own_package(monkeypatch):
    node = {"_target_": "fractions.Fraction", "numerator": 3}
    with pytest.raises(ConfigError, match="allow your own package with EBM_ALLOW"):
        build(node, "model", Fraction)
    monkeypatch.setenv("EBM_ALLOW", "fractions")
    assert build(node, "model", Fraction) == 3
    with pytest.raises(ConfigError, match="this place takes a subclass of Energy"):
        build(node, "model")


def test_a_value_of_the_wrong_kind_is_named():
    with pytest.raises(ConfigError, match=r"sampler.n_steps=many: expected an integer"):
        build({"_target_": "ebm_cli.samplers.Langevin", "n_steps": "many"}, "sampler")


def layer(width: int, rate: float | None = None, sizes: tuple[int, int] = (1, 2), kind: Literal["a", "b"] = "a", at=0):
    """Keywords of every kind."""
    return width, rate, sizes, kind, at


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"width": True}, "layer.width=true: expected an integer, got bool"),
        ({"width": 1.5}, "layer.width=1.5: expected an integer, got float"),
        ({"rate": "fast"}, "layer.rate=fast: expected a number or null, got str"),
        ({"rate": True}, "layer.rate=true: expected a number or null, got bool"),
        ({"sizes": [1, "x"]}, r"layer.sizes=\[1, 'x'\]: expected an integer, got str"),
        ({"kind": "c"}, "layer.kind=c: expected 'a' or 'b', got str"),
    ],
)
def test_values_are_checked_against_annotations(value, message):
    with pytest.raises(ConfigError, match=message):
        check_keywords(layer, value, "layer")


def test_values_that_annotations_allow_pass():
    check_keywords(layer, {"width": 3, "rate": 1, "sizes": [1, 2], "kind": "b", "at": object()}, "layer")
    check_keywords(layer, {"rate": None, "width": 3}, "layer")
    with pytest.raises(ConfigError, match="layer.rate=inf: must be a finite number"):
        check_keywords(layer, {"rate": float("inf"), "width": 3}, "layer")


# The command line --------------------------------------------------------------------------------------------------


def test_importing_the_commands_needs_no_torch():
    code = "import sys, ebm_cli.train, ebm_cli.sample, ebm_cli.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_help_teaches_in_a_second_and_a_half():
    times = []
    for _ in range(3):
        before = os.times()
        shown = subprocess.run(
            [sys.executable, "-c", "from ebm_cli.train import main; main()", "--help"], capture_output=True, text=True
        )
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    for group in ("model", "objective", "sampler", "buffer", "dataset", "optimizer", "trainer", "logger"):
        assert f"{group}:" in shown.stdout
    assert "ebm-train model=mlp dataset=8gaussians" in shown.stdout
    assert min(times) < 1.5 * 2  # seconds of processor time; a core shared with others takes up to twice as long


def test_cfg_job_prints_the_config_and_trains_nothing(command, tmp_path):
    status, out, _ = command("ebm-train", "--cfg", "job")
    assert status == 0 and yaml.safe_load(out)["sampler"]["_target_"] == "ebm_cli.samplers.Langevin"
    assert not (tmp_path / "outputs").exists()


def test_the_wheel_holds_every_option_and_every_room(tmp_path):
    """Nobody lists them: a new room, group or option is packaged by being there."""
    import zipfile

    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", str(tmp_path), str(ROOT)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    held = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    options = {f"ebm_cli/conf/{f.relative_to(CONF)}" for f in CONF.rglob("*.yaml")}
    modules = {str(f.relative_to(ROOT)) for f in (ROOT / "ebm_cli").rglob("*.py")}
    assert options | modules <= held


def test_options_resolve_as_one_config(command):
    _, out, _ = command("ebm-train", "--cfg", "job", "--resolve")
    assert OmegaConf.create(yaml.safe_load(out)).sampler.step_size > 0


# A run as the starting point of other commands ---------------------------------------------------------------------


def test_only_the_launch_reads_the_command_line():
    files = [f for f in (ROOT / "ebm_cli").rglob("*.py") if "sys.argv" in f.read_text()]
    allowed = {ROOT / "ebm_cli" / "config" / "launch.py"}
    assert set(files) - allowed == set()


def test_a_runs_config_travels_in_process(command, tmp_path):
    """No folder, no variable: the commands after ebm-train leave the environment as it was, but for the run's name."""
    assert command("ebm-train", *SMALL, "seed=3", stamp="a")[0] == 0
    before, folders = set(os.environ), set(Path(tempfile.gettempdir()).glob("ebm-*"))
    status, out, err = command("ebm-sample", "--cfg", "job")
    assert status == 0, err
    shown = yaml.safe_load(out)
    assert shown["seed"] == 3 and shown["sampler"]["n_steps"] == 3 and shown["run"].endswith("/a")
    assert set(os.environ) - before <= {"EBM_RUN_STAMP"}
    assert set(Path(tempfile.gettempdir()).glob("ebm-*")) == folders


def test_a_sampler_chosen_anew_keeps_no_key_of_the_runs_own(command):
    assert command("ebm-train", *SMALL, stamp="a")[0] == 0
    _, out, _ = command("ebm-eval", "sampler=gradient_descent", "sampler.n_steps=7", "--cfg", "job")
    assert set(yaml.safe_load(out)["sampler"]) == set(config.option_node("sampler", "gradient_descent"))
    status, _, err = command("ebm-eval", "sampler.noise_stdd=7")
    assert status == 1 and "did you mean noise_std" in err


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_sweeps_over_a_run_know_its_config_in_every_process(tmp_path, launcher):
    if launcher:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")

    def run(verb, *words, stamp):
        code = f"from ebm_cli.{verb} import main; main()"
        env = {**os.environ, "EBM_RUN_STAMP": stamp, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    run("train", *SMALL, stamp="a")
    run("sample", "-m", "sampler.n_steps=2,4", "num_samples=4", *launcher, stamp="s")
    made = [json.loads(f.read_text()) for f in (tmp_path / "outputs" / "sweeps" / "s").glob("*/diagnostics.json")]
    assert {each["n_steps"] for each in made} == {2, 4}


def test_a_wish_for_stack_traces_is_passed_on_and_ours_is_not(monkeypatch):
    from ebm_cli.config.launch import environment

    for wish in (None, "1"):
        with environment("HYDRA_FULL_ERROR", "1"), environment("HYDRA_FULL_ERROR", wish):
            assert os.environ.get("HYDRA_FULL_ERROR") == wish
        assert "HYDRA_FULL_ERROR" not in os.environ


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["+sampler=mala"], "sampler: given twice; say sampler=OPTION without the +"),
        (["task=generate"], "task: unknown key"),
        (["trainer.devices=1,2"], "value1,value2"),
        (["callbacks.fid.m=1"], "callbacks.fid: not chosen; choose it too with callbacks=[default,fid]"),
    ],
)
def test_what_hydra_refuses_is_one_line(command, words, expected):
    status, _, err = command("ebm-train", *words)
    lines = [line for line in err.splitlines() if line.startswith("ebm-train:")]
    assert status == 1 and len(lines) == 1 and expected in lines[0]
