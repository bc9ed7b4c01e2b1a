"""Checks of a composed config: no key that nothing reads, nothing left over from another option."""

from __future__ import annotations

import typing
from collections.abc import Iterator

from omegaconf import MISSING, DictConfig, OmegaConf

from ebm_cli.config.bounds import out_of_bounds
from ebm_cli.config.build import check_keywords, default_kind, nested_kinds, plain, resolve
from ebm_cli.config.errors import ConfigError, unknown
from ebm_cli.config.schema import RECIPE

NODES = (
    "model", "objective", "sampler", "buffer", "dataset", "optimizer", "schedule", "trainer", "base", "task", "table",
)  # fmt: skip
ONE_CLASS = ("trainer", "schedule")  # all options build one class, so a preset's values keep their meaning on each


def check(cfg: DictConfig, schema) -> None:
    """Raises ConfigError for any key that nothing reads, however it got in: root keys first, then every node."""
    fields = schema.__dataclass_fields__
    for key in cfg:
        if key not in fields:
            raise ConfigError(unknown(str(key), list(fields)))
        if not OmegaConf.is_missing(cfg, key) and (wrong := out_of_bounds(str(key), cfg[key])):
            raise ConfigError(f"{key}={cfg[key]}: {wrong}")
    for key in cfg.get("recipe") or {}:
        if key not in RECIPE:
            raise ConfigError(unknown(f"recipe.{key}", RECIPE))
    for name in NODES:
        if cfg.get(name) is not None:
            check_node(plain(cfg[name]), name)
    for name in ("logger", "metric", "callbacks"):
        for inner, node in (plain(cfg.get(name)) if cfg.get(name) else {}).items():
            if node is not None:  # callbacks.pictures=null drops it
                check_node(node, f"{name}.{inner}")


def check_node(node: dict, path: str, kind=None) -> None:
    """Checks the keys of one node and of the nodes inside it against the classes that they build."""
    values = dict(node)
    target = resolve(values.pop("_target_", None), path, kind)
    check_keywords(target, values, path)
    kinds = nested_kinds(target)
    for key, value in values.items():
        for inner, place in nodes_in(value, f"{path}.{key}"):
            check_node(inner, place, kinds.get(key) or default_kind())


def nodes_in(value, path: str) -> Iterator[tuple[dict, str]]:
    """The nodes of a value: itself, or those in its lists and mappings."""
    if isinstance(value, dict) and "_target_" in value:
        yield value, path
    elif isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from nodes_in(inner, f"{path}.{key}")


def check_leftovers(hydra_cfg) -> None:
    """Raises ConfigError where a preset's values for one option have landed on another.

    ``experiment=p sampler=mala`` leaves the step size that p chose for *its* sampler on MALA.
    """
    choices, overrides = hydra_cfg.runtime.choices, list(hydra_cfg.overrides.task)
    name = choices.get("experiment")
    given = {override.lstrip("+~").split("=", 1)[0] for override in overrides}
    nodes = {key: node for key, node in preset(name).items() if OmegaConf.is_dict(node) and key not in ONE_CLASS}
    sets = {group: node for group, node in nodes.items() if group in given and group in choices}
    if not sets:
        return
    alone = compose_choices(hydra_cfg.job.config_name, name)
    for group, node in sets.items():
        if choices[group] == alone[group]:
            continue
        left = [f"{group}.{key}" for key in node if f"{group}.{key}" not in given]
        if left:
            raise ConfigError(
                f"experiment={name} sets {', '.join(left)} for {group}={alone[group]}, and you chose "
                f"{group}={choices[group]}: give {'them' if len(left) > 1 else 'it'} on the command line too"
            )


def preset(name: str | None) -> dict:
    """What the file of a preset itself says, by key; empty without one."""
    from hydra.core.global_hydra import GlobalHydra

    path = f"experiment/{name}"
    sources = GlobalHydra.instance().config_loader().get_sources() if name else []
    source = next((source for source in sources if source.available() and source.is_config(path)), None)
    return dict(source.load_config(path).config) if source else {}


def compose_choices(config_name: str, experiment: str) -> dict:
    """The option of every group that a preset means by itself."""
    from hydra import compose

    cfg = compose(config_name, [f"experiment={experiment}"], return_hydra_config=True)
    return dict(cfg.hydra.runtime.choices)


def check_composed(cfg: DictConfig, schema, hydra_cfg) -> None:
    """All checks that a composed config must pass before anything is built."""
    check_given(list(hydra_cfg.overrides.task), schema)
    check_sweep(cfg, hydra_cfg)
    check_leftovers(hydra_cfg)
    check(cfg, schema)


def check_given(overrides: list[str], schema) -> None:
    """Raises ConfigError for a key that is taken away and cannot be missed, or a switch that is neither true nor false.

    OmegaConf would take 2 for true.
    """
    hints = typing.get_type_hints(schema)
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        field = schema.__dataclass_fields__.get(key)
        if field is not None and field.default == MISSING and (override[0] == "~" or value == "null"):
            raise ConfigError(f"{override}: this command needs {key}; leave that out")
        if hints.get(key) is bool and value.lower() not in ("true", "false"):
            raise ConfigError(f"{key}={value}: must be true or false")


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


def refuse_storage(arguments: list[str]) -> None:
    """Raises ConfigError for an Optuna storage that the installed packages cannot open."""
    from importlib.metadata import PackageNotFoundError, version

    storage = next((argument for argument in arguments if argument.startswith("hydra.sweeper.storage=")), None)
    if storage is None or storage.endswith("=null"):
        return
    try:
        optuna, alchemy = (int(version(package).split(".")[0]) for package in ("optuna", "SQLAlchemy"))
    except PackageNotFoundError as error:
        raise ConfigError(f"{storage}: needs the package {error.name}: pip install 'ebm-cli[sweep]'") from error
    if optuna < 3 and alchemy >= 2:
        raise ConfigError(
            f"{storage}: optuna {optuna} cannot use SQLAlchemy {alchemy}; leave the study in memory (null)"
        )
