"""Configuration: schemas, strictness, the one ``build()``, the run stamp. Imports no torch, so that --help is fast."""

from __future__ import annotations

import atexit
import difflib
import importlib
import inspect
import os
import re
import shutil
import sys
import tempfile
import time
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf

from ebm_cli import smoke

ALLOWED = ("ebm_cli", "torch.nn", "torch.optim", "torchvision.transforms", "torchvision.datasets", "pytorch_lightning")
RECIPE = (  # what a data set may recommend, and other options read
    "hidden", "activation", "fourier", "n_steps", "step_size", "noise_std", "noise_first", "grad_clip", "boundary",
    "start", "reinit", "buffer_size", "lr", "betas", "energy_l2", "ema_decay", "threads", "max_epochs", "base",
    "tilted",
)  # fmt: skip
SUPPLIED = ("shape", "support", "n_classes", "joint", "seed", "params")  # keywords that the program fills in


class ConfigError(ValueError):
    """A wrong word in a config or on the command line; the message is the one line that the user sees."""


@dataclass
class Schedule:
    """Learning rate over a run; see conf/train.yaml."""

    warmup_steps: int = MISSING
    hold: float = MISSING
    final: float = MISSING
    shape: str = MISSING
    milestones: list[float] = field(default_factory=list)
    factor: float = 1.0


@dataclass
class Guard:
    """When a run counts as diverged; see conf/train.yaml."""

    growth: float = MISSING
    window: int = MISSING
    nats: float = MISSING


@dataclass
class Pictures:
    """Pictures during training; see conf/train.yaml."""

    every_n_epochs: int = MISSING
    number: int = MISSING


@dataclass
class Keep:
    """Which checkpoints are kept; see conf/train.yaml."""

    earlier: int = MISSING
    best: bool = MISSING


@dataclass
class TrainConfig:
    """Keys of `ebm-train`, and of the config that a run keeps."""

    model: Any = MISSING
    objective: Any = MISSING
    sampler: Any = MISSING
    buffer: Any = MISSING
    dataset: Any = MISSING
    optimizer: Any = MISSING
    trainer: Any = MISSING
    logger: Any = MISSING
    callbacks: Any = None
    name: str = MISSING
    seed: int = MISSING
    run: str | None = None
    base: Any = MISSING
    tilted: bool = MISSING
    ema_decay: float | None = None
    sample_steps: int | None = None
    compile: bool = MISSING
    view: str = MISSING
    cpu_time: str | None = None
    threads: int | None = None
    schedule: Schedule = field(default_factory=Schedule)
    checkpoints: Keep = field(default_factory=Keep)
    guard: Guard = field(default_factory=Guard)
    pictures: Pictures = field(default_factory=Pictures)


@dataclass
class SampleConfig(TrainConfig):
    """Keys of `ebm-sample`: those of the run, and what to do with it."""

    task: Any = MISSING
    num_samples: int = MISSING
    checkpoint: str = MISSING


@dataclass
class EvalConfig(TrainConfig):
    """Keys of `ebm-eval`: those of the run, and what to measure."""

    metric: Any = None
    checkpoint: str = MISSING
    samples: str | None = None


@dataclass
class TableConfig:
    """Keys of `ebm-table`."""

    table: Any = MISSING
    seeds: list[int] = MISSING
    rows: list[str] | None = None
    columns: list[str] | None = None
    run_missing: bool = MISSING
    format: str = MISSING
    results: str = MISSING
    into: str | None = None


SCHEMAS = {
    "train_schema": TrainConfig,
    "sample_schema": SampleConfig,
    "eval_schema": EvalConfig,
    "table_schema": TableConfig,
}


# Building objects --------------------------------------------------------------------------------------------------


def build(node, path: str = "", **supplied):
    """Instantiates a config node: its ``_target_`` called with its keys, nested nodes first.

    Args:
        node: a mapping with ``_target_``; lists and nested mappings are built inside out, other values stay.
        path: where the node stands in the config, for messages.
        supplied: keywords that the program knows (shape, support, ...), passed where the class takes them.

    Raises:
        ConfigError: for a target outside the allowed packages, an unknown or ill-typed key, or a value that the class
            refuses.
    """
    values = plain(node)
    target = resolve(values.pop("_target_", None), path)
    check_keywords(target, values, path)
    keywords = {key: build_value(value, f"{path}.{key}", supplied) for key, value in values.items()}
    takes = inspect.signature(target).parameters
    keywords |= {k: v for k, v in supplied.items() if k in takes and k not in keywords}
    try:
        return target(**keywords)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"{path}: {one_line(error)}") from error


def build_value(value, path: str, supplied: dict):
    """A nested value: nodes with ``_target_`` are built, mappings and lists are walked, the rest stays."""
    if isinstance(value, dict):
        if "_target_" in value:
            return build(value, path, **supplied)
        return {k: build_value(v, f"{path}.{k}", supplied) for k, v in value.items()} if path_builds(path) else value
    if isinstance(value, list):
        return [build_value(v, f"{path}[{i}]", supplied) for i, v in enumerate(value)]
    return value


def path_builds(path: str) -> bool:
    """Whether nodes inside a plain mapping are built with it: not in ``recipe``, which other options read."""
    return not path.endswith(".recipe")


def plain(node) -> dict:
    """A config node as plain, resolved dicts and lists."""
    values = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else dict(node)
    return dict(values)


def allowed_packages() -> tuple[str, ...]:
    """Packages whose classes a config may name: ours, and those that EBM_ALLOW lists, separated by commas."""
    extra = [p.strip() for p in os.environ.get("EBM_ALLOW", "").split(",") if p.strip()]
    return ALLOWED + tuple(extra)


def resolve(target: str | None, path: str):
    """The class or function called ``target``, if it is defined in an allowed package.

    The name alone is not enough (``torch.nn.os.system``): the object's own module is judged too.

    Raises:
        ConfigError: naming the target and what is allowed.
    """
    if not isinstance(target, str):
        raise ConfigError(f"{path}._target_: missing; name the class to build")
    found = locate(target) if within(target, allowed_packages()) else None
    home = getattr(found, "__module__", None)
    if found is None or not callable(found) or not within(f"{home}.", allowed_packages()):
        packages = ", ".join(allowed_packages())
        raise ConfigError(
            f"{path}._target_={target}: not a class of {packages} (allow your own package with EBM_ALLOW=package)"
        )
    return found


def within(name: str, packages) -> bool:
    return any(name.startswith(f"{package}.") for package in packages)


def locate(name: str):
    """The object at a dotted name, or None; imports modules on the way, and nothing else."""
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError as error:
            if error.name and ".".join(parts[:split]).startswith(error.name):
                continue
            raise ConfigError(f"{name}: needs the package {error.name}, which is not installed") from error
        for part in parts[split:]:
            found = getattr(found, part, None)
        return found
    return None


def check_keywords(target, values: dict, path: str) -> None:
    """Raises ConfigError for keys that ``target`` does not take, or values that its annotations exclude."""
    parameters = inspect.signature(target).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for key in values:
            if key not in parameters:
                raise ConfigError(unknown(f"{path}.{key}", [p for p in parameters if p not in SUPPLIED]))
    hints = annotations(target)
    for key, value in values.items():
        if key in hints and not fits(value, hints[key]):
            raise ConfigError(f"{path}.{key}={value}: expected {describe(hints[key])}, got {type(value).__name__}")


def annotations(target) -> dict:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # torch's own classes carry hints that only type checkers resolve
        return {}


def fits(value, hint) -> bool:
    """Whether a plain value can be meant for an annotation; judges numbers, strings and booleans, accepts the rest."""
    choices = alternatives(hint)
    if not set(choices) <= {int, float, bool, str, type(None)}:
        return True
    if isinstance(value, bool):
        return bool in choices
    if isinstance(value, int):
        return int in choices or float in choices
    return type(value) in choices


def alternatives(hint) -> tuple:
    """The members of a union, or the hint itself."""
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def describe(hint) -> str:
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a word", type(None): "null"}
    return " or ".join(names.get(c, str(c)) for c in alternatives(hint))


def unknown(key: str, choices) -> str:
    """One line for an unknown key: its name, the nearest known one, and all of them."""
    name, where = key.rsplit(".", 1)[-1], key.rsplit(".", 1)[0] if "." in key else ""
    near = difflib.get_close_matches(name, list(choices), 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    takes = f"{where} takes" if where else "keys are"
    return f"{key}: unknown key{hint}; {takes}: {', '.join(choices)}"


def one_line(error) -> str:
    return " ".join(str(error).split())


# Checking a composed config ----------------------------------------------------------------------------------------

NODES = ("model", "objective", "sampler", "buffer", "dataset", "optimizer", "trainer", "base", "task", "table")


def check(cfg: DictConfig, schema) -> None:
    """Raises ConfigError for any key that nothing reads, however it got in: root keys first, then every node."""
    fields = schema.__dataclass_fields__
    for key in cfg:
        if key not in fields:
            raise ConfigError(unknown(str(key), list(fields)))
    for key, kind in (("schedule", Schedule), ("guard", Guard), ("checkpoints", Keep), ("pictures", Pictures)):
        for inner in cfg.get(key) or {}:
            if inner not in kind.__dataclass_fields__:
                raise ConfigError(unknown(f"{key}.{inner}", list(kind.__dataclass_fields__)))
    for key in (cfg.get("dataset") or {}).get("recipe") or {}:
        if key not in RECIPE:
            raise ConfigError(unknown(f"dataset.recipe.{key}", RECIPE))
    for name in NODES:
        if cfg.get(name) is not None and set(cfg[name]) != {"recipe"}:  # a closed form has no data but their recipe
            check_node(plain(cfg[name]), name)
    for name in ("logger", "metric", "callbacks"):
        for inner, node in (plain(cfg.get(name)) if cfg.get(name) else {}).items():
            check_node(node, f"{name}.{inner}")


def check_node(node: dict, path: str) -> None:
    """Checks the keys of one node and of the nodes inside it against the classes that they build."""
    values = dict(node)
    target = resolve(values.pop("_target_", None), path)
    check_keywords(target, values, path)
    for key, value in values.items():
        if isinstance(value, dict) and "_target_" in value:
            check_node(value, f"{path}.{key}")


def check_leftovers(choices: dict, sources: list[Path], overrides: list[str]) -> None:
    """Raises ConfigError where a preset's values for one option have landed on another.

    ``experiment=p sampler=mala`` leaves the step size that p chose for *its* sampler on MALA.

    Args:
        choices: option chosen per group.
        sources: config folders, searched in order.
        overrides: the words of the command line.
    """
    preset = read_option(sources, "experiment", choices.get("experiment"))
    given = {o.lstrip("+~").split("=", 1)[0] for o in overrides}
    meant = {
        key.removeprefix("override ").lstrip("/"): value
        for entry in preset.get("defaults", [])
        if isinstance(entry, dict)
        for key, value in entry.items()
    }
    for group, option in meant.items():
        chosen, node = choices.get(group), preset.get(group)
        if chosen == option or not isinstance(node, dict):
            continue
        left = [f"{group}.{key}" for key in node if f"{group}.{key}" not in given]
        if left:
            raise ConfigError(
                f"experiment={choices['experiment']} sets {', '.join(left)} for {group}={option}, and you chose "
                f"{group}={chosen}: give {'them' if len(left) > 1 else 'it'} on the command line too"
            )


def read_option(sources: list[Path], group: str, option: str | None) -> dict:
    """The raw YAML of one option, from the first folder that has it; empty if there is none."""
    for source in sources:
        file = source / group / f"{option}.yaml"
        if option and file.is_file():
            return yaml.safe_load(file.read_text()) or {}
    return {}


def option_node(group: str, option: str) -> dict:
    """An option of the package by name, as plain values, ``defaults`` followed.

    Raises:
        ConfigError: listing the options that there are.
    """
    file = next((f / group / f"{option}.yaml" for f in config_dirs() if (f / group / f"{option}.yaml").is_file()), None)
    if file is None:
        raise ConfigError(f"{group}={option}: no such option; choose one of: {', '.join(options(group))}")
    values = yaml.safe_load(file.read_text()) or {}
    merged = {}
    for parent in values.pop("defaults", []):
        if isinstance(parent, str) and parent != "_self_":
            merged |= option_node(group, parent)
    return merged | values


def options(group: str) -> list[str]:
    """Names of a group's options, the user's own (--config-dir) included; those with a leading _ are parts."""
    files = [file for folder in config_dirs() for file in (folder / group).glob("*.yaml")]
    return sorted({file.stem for file in files if not file.stem.startswith("_")})


def config_dirs() -> list[Path]:
    """Folders of options: those that --config-dir (-cd) names on the command line, then the package's own."""
    words = sys.argv[1:]
    pairs = zip(words, [*words[1:], ""], strict=False)
    given = [after for word, after in pairs if word in ("--config-dir", "-cd")]
    given += [word.split("=", 1)[1] for word in words if word.startswith("--config-dir=")]
    return [*map(Path, given), conf_dir()]


def conf_dir() -> Path:
    """Where the option files of the package are, installed or editable."""
    return Path(importlib.import_module("ebm_cli.conf").__file__).parent


# Going on from a run -----------------------------------------------------------------------------------------------


def inherit(groups: list[str], default: str | None, without: tuple[str, ...] = ("trainer", "logger")) -> Path | None:
    """Makes the resolved config of the run that the command line names available as the option ``inherited``.

    Nodes whose option the command line chooses anew (``sampler=mala``) are left out, so that no key of the old option
    stays on the new one. The copy lives in a folder that EBM_INHERITED names and that goes with this process.

    Args:
        groups: config groups that the command line may choose anew.
        default: the run to take where the command line names none; None takes no run then.
        without: parts of the run's config that are not inherited.

    Returns:
        the run directory, or None without a run.
    """
    words = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word and not word.startswith("-"))
    path = words.get("run", default)
    folder = Path(tempfile.mkdtemp(prefix="ebm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["EBM_INHERITED"] = str(folder)
    if path is None or path == "null":
        (folder / "inherited.yaml").write_text("{}\n")
        return None
    run = find_run(path)
    kept = yaml.safe_load((run / "config.yaml").read_text())
    chosen = {group for group in groups if group in words}
    kept = {key: value for key, value in kept.items() if key not in chosen and key not in ("run", *without)}
    (folder / "inherited.yaml").write_text(yaml.safe_dump(kept | {"run": str(run)}, sort_keys=False))
    return run


def find_run(path: str | Path) -> Path:
    """The run directory that ``path`` means: a directory, a checkpoint inside one, or ``latest``.

    Raises:
        ConfigError: if there is no run there.
    """
    place = Path("outputs/runs/latest") if str(path) == "latest" else Path(path)
    if place.suffix == ".ckpt":
        place = place.parent.parent
    if not (place / "config.yaml").is_file():
        said = "no run yet; train one with ebm-train" if str(path) == "latest" else "no run there (no config.yaml)"
        raise ConfigError(f"run={path}: {said}")
    return place.resolve()


# Starting a verb ---------------------------------------------------------------------------------------------------


def stamp() -> None:
    """Pins the name of this run's directory for this process and for the processes it starts."""
    os.environ.setdefault("EBM_RUN_STAMP", time.strftime("%Y-%m-%d_%H-%M-%S") + f"-{os.getpid()}")


def launch(verb: str, config_name: str, task, schema) -> None:
    """Composes the config called ``config_name``, checks it, and runs ``task(cfg)``; the only place Hydra starts.

    Every error becomes one line on standard error and exit status 1; HYDRA_FULL_ERROR=1 shows the stack as well.
    """
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.hydra_config import HydraConfig

    stamp()
    wants_stack = os.environ.setdefault("EBM_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR", "")) not in ("", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands its errors to us instead of printing them
    for name, node in SCHEMAS.items():
        ConfigStore.instance().store(name=name, node=node)

    def run(cfg: DictConfig):
        single = HydraConfig.get().mode.name == "RUN"
        try:
            if HydraConfig.get().runtime.choices.get("trainer") == "smoke":
                smoke.cap(cfg, conf_dir() / "smoke.yaml", list(HydraConfig.get().overrides.task))
            check_composed(cfg, schema, HydraConfig.get())
            return task(cfg)
        except Exception as error:
            if wants_stack or not single:
                raise
            stop(verb, error)

    try:
        hydra.main(version_base="1.3", config_path="pkg://ebm_cli.conf", config_name=config_name)(run)()
    except Exception as error:
        if wants_stack:
            raise
        stop(verb, error)


def check_composed(cfg: DictConfig, schema, hydra_cfg) -> None:
    """All checks that a composed config must pass before anything is built."""
    sources = [Path(s.path) for s in hydra_cfg.runtime.config_sources if s.schema == "file"] + [conf_dir()]
    check_sweep(cfg, hydra_cfg)
    check_leftovers(dict(hydra_cfg.runtime.choices), sources, list(hydra_cfg.overrides.task))
    check(cfg, schema)


def check_sweep(cfg: DictConfig, hydra_cfg) -> None:
    """Raises ConfigError for sweepers that choose values as they go on several devices: processes would disagree."""
    choosing = (
        hydra_cfg.mode is not None and hydra_cfg.mode.name == "MULTIRUN" and "Basic" not in hydra_cfg.sweeper._target_
    )
    if choosing and str(cfg.trainer.devices) not in ("1", "[0]"):
        raise ConfigError(
            f"trainer.devices={cfg.trainer.devices}: with hydra/sweeper={hydra_cfg.runtime.choices['hydra/sweeper']} "
            "every process would draw values of its own; take one device per job"
        )


def refuse_storage(words: list[str]) -> None:
    """Raises ConfigError for an Optuna storage that the installed packages cannot open."""
    from importlib.metadata import PackageNotFoundError, version

    asked = next((word for word in words if word.startswith("hydra.sweeper.storage=")), None)
    if asked is None or asked.endswith("=null"):
        return
    try:
        optuna, alchemy = (int(version(package).split(".")[0]) for package in ("optuna", "SQLAlchemy"))
    except PackageNotFoundError as error:
        raise ConfigError(f"{asked}: needs the package {error.name}: pip install 'ebm-cli[sweep]'") from error
    if optuna < 3 and alchemy >= 2:
        raise ConfigError(f"{asked}: optuna {optuna} cannot use SQLAlchemy {alchemy}; leave the study in memory (null)")


def stop(verb: str, error: Exception) -> typing.NoReturn:
    """Prints one line and leaves with status 1."""
    sys.stderr.write(f"{verb}: {explain(error)}\n")
    sys.exit(1)


def explain(error: BaseException) -> str:
    """The one line that a user sees for an error: the key, the value, and what would be right."""
    text = "\n".join(str(e) for e in (error, error.__cause__) if e)
    missing = re.search(r"Could not (?:find|load) '([\w/]+)/([^'/]+)'", text)
    if missing and options(missing[1]):
        return f"{missing[1]}={missing[2]}: no such option; choose one of: {', '.join(options(missing[1]))}"
    twice = re.search(r"Multiple values for (\w+)", text)
    if twice:
        return f"{twice[1]}: given twice; say {twice[1]}=OPTION without the +"
    key = re.search(r"Could not override '([\w.@/]+)'", text) or re.search(r"Key '(\w+)' (?:is )?not in", text)
    if key:
        return unknown(key[1], siblings(key[1]))
    wrong = re.search(r"Error merging override (\S+)", text)
    if wrong:
        reason = next((line for line in text.splitlines()[1:] if "could not be converted" in line), "not a valid value")
        return f"{wrong[1]}: {reason.strip()}"
    name = "" if isinstance(error, (ConfigError, RuntimeError, OSError, ValueError)) else f"{type(error).__name__}: "
    return name + one_line(str(error).splitlines()[0] if str(error) else type(error).__name__)


def siblings(key: str) -> list[str]:
    """The keys that could stand in place of the last word of ``key``, in the config that the command line chose."""
    parent = key.rsplit(".", 1)[0] if "." in key else ""
    group = parent.split(".")[0]
    if not parent:
        verb = Path(sys.argv[0]).name.removeprefix("ebm-")
        return [*SCHEMAS.get(f"{verb}_schema", TrainConfig).__dataclass_fields__, "experiment"]
    if group in ("metric", "callbacks"):  # several at once, each under its own name
        name = [*parent.split("."), ""][1]
        return [k for k in option_node(group, name) if k != "_target_"] if name in options(group) else options(group)
    chosen = next((a.split("=", 1)[1] for a in sys.argv[1:] if a.startswith(f"{group}=")), None)
    chosen = chosen or default_option(group)
    node = option_node(group, chosen) if chosen in options(group) else root_node(group)
    for part in parent.split(".")[1:]:
        node = node.get(part, {})
    return [k for k in node if k != "_target_"]


def root_node(name: str) -> dict:
    return yaml.safe_load((conf_dir() / "train.yaml").read_text()).get(name) or {}


def default_option(group: str) -> str | None:
    """The option that conf/train.yaml chooses for a group."""
    entries = yaml.safe_load((conf_dir() / "train.yaml").read_text())["defaults"]
    return next((e[group] for e in entries if isinstance(e, dict) and group in e), None)
