"""Every typo is one line that names the key and lists the choices; every option is the keywords of its class."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import pytest
import yaml
from conftest import CONF, ROOT
from omegaconf import OmegaConf

from ebm_cli import config
from ebm_cli.config import ConfigError, build
from ebm_cli.config.build import resolve

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
    if (group, option) == ("base", "recipe"):
        pytest.skip("it is the data set's")
    node = node.get(option, node) if "_target_" not in node else node
    target = resolve(node.pop("_target_"), f"{group}.{option}")
    takes = [
        p for p in inspect.signature(target).parameters.values() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    names = [p.name for p in takes if p.name not in config.SUPPLIED]
    assert set(node) <= set(names)
    if target.__module__.startswith("ebm_cli."):
        assert list(node) == names


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
    with pytest.raises(ConfigError):
        build(node, "model")
    monkeypatch.setenv("EBM_ALLOW", "fractions")
    assert build(node, "model") == 3


def test_a_value_of_the_wrong_kind_is_named():
    with pytest.raises(ConfigError, match=r"sampler.n_steps=many: expected an integer"):
        build({"_target_": "ebm_cli.samplers.Langevin", "n_steps": "many"}, "sampler")


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
