"""From an error of Hydra or OmegaConf to the one line that a user reads."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from ebm_cli.config.errors import ConfigError, one_line, unknown
from ebm_cli.config.options import composing, options, search_path
from ebm_cli.config.schema import TrainConfig


def explain(
    error: BaseException, overrides: Sequence[str] = (), config_name: str = "train", schema=TrainConfig, folders=()
) -> str:
    """The key, the value, and what would be right.

    Args:
        error: what was raised.
        overrides: the command line's ``key=value`` arguments.
        config_name: the root config that was composed.
        schema: the keys that it may have.
        folders: the user's own option folders.
    """
    from hydra.errors import ConfigCompositionException, MissingConfigException

    group, _, option = (getattr(error, "missing_cfg_file", None) or "").rpartition("/")
    # Hydra lists the options for one choice, but not for one of several: callbacks=[default,nope]
    if isinstance(error, MissingConfigException) and (error.options or options(group, folders)):
        known = sorted(name for name in error.options or options(group, folders) if not name.startswith("_"))
        return f"{group}={option}: no such option; choose one of: {', '.join(known)}"
    # OmegaConf knows which key it stopped at; Hydra chains its error behind an own one
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__ or error.__context__
    key = str(getattr(cause, "full_key", None) or "")
    if key and isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
        group, _, option = key.partition(".")
        if option and option in options(group, folders):  # one of several that may be chosen at once
            also = f"default,{option}" if group == "callbacks" else option
            return f"{key}: not chosen; choose it too with {group}=[{also}]"
        return unknown(key, siblings(key, overrides, config_name, schema, folders))
    if key and isinstance(cause, ValidationError):
        value = "" if (given := chosen(overrides).get(key)) is None else f"={given}"
        return f"{key}{value}: {one_line(str(cause.msg))}"
    if isinstance(error, ConfigCompositionException):
        return misplaced(overrides, schema, folders) or one_line(error)
    name = "" if isinstance(error, (ConfigError, RuntimeError, OSError, ValueError)) else f"{type(error).__name__}: "
    return name + one_line(str(error).splitlines()[0] if str(error) else type(error).__name__)


def chosen(overrides: Sequence[str]) -> dict[str, str]:
    """The values that the command line gives, by key."""
    return {key.lstrip("+~"): value for key, _, value in (override.partition("=") for override in overrides)}


def misplaced(overrides: Sequence[str], schema, folders=()) -> str | None:
    """What is wrong with the first group that the command line chooses twice, or that this command does not have."""
    known = root_keys(schema)
    for override in overrides:
        key = override.partition("=")[0]
        group = key.lstrip("+~")
        if group in known and key.startswith("+") and options(group, folders):
            return f"{group}: given twice; say {group}=OPTION without the +"
        if group not in known and "." not in group and options(group, folders):
            return unknown(group, known)
    return None


def siblings(key: str, overrides: Sequence[str], config_name: str, schema, folders=()) -> list[str]:
    """The keys that could stand in place of the last part of ``key``, in the config that the command line chose."""
    from hydra import compose
    from hydra.errors import HydraException

    parents = key.split(".")[:-1]
    if not parents:
        return root_keys(schema)
    with composing():
        choices = [o for o in overrides if not o.startswith("~") and options(o.partition("=")[0].lstrip("+"), folders)]
        try:
            node = compose(config_name, [*choices, *search_path(folders)])
        except (HydraException, OmegaConfBaseException):  # the choices themselves are wrong too
            return []
        for part in parents:
            node = node.get(part) if OmegaConf.is_dict(node) else None
    keys = [str(k) for k in node if k != "_target_"] if OmegaConf.is_dict(node) else []
    return keys or options(parents[0], folders)  # several at once, each under its own name: metrics, callbacks


def root_keys(schema) -> list[str]:
    """The keys of a command, and the group of presets."""
    return [*schema.__dataclass_fields__, "experiment"]
