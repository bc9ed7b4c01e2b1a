"""Checks of a composed config: no key that nothing reads, nothing left over from another option."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from ebm_cli.config.build import check_keywords, plain, resolve
from ebm_cli.config.errors import ConfigError, unknown
from ebm_cli.config.options import conf_dir, read_option
from ebm_cli.config.schema import RECIPE

NODES = (
    "model",
    "objective",
    "sampler",
    "buffer",
    "dataset",
    "optimizer",
    "schedule",
    "trainer",
    "base",
    "task",
    "table",
)


def check(cfg: DictConfig, schema) -> None:
    """Raises ConfigError for any key that nothing reads, however it got in: root keys first, then every node."""
    fields = schema.__dataclass_fields__
    for key in cfg:
        if key not in fields:
            raise ConfigError(unknown(str(key), list(fields)))
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
