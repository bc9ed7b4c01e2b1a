"""From an error of Hydra or OmegaConf to the one line that a user reads."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationResolutionError,
    OmegaConfBaseException,
    ValidationError,
)

from ebm_cli.config.errors import ConfigError, describe_yaml, one_line, unknown
from ebm_cli.config.options import composing, options, search_path
from ebm_cli.config.schema import TrainConfig

TELLING = {"MisconfigurationException", "SearchPathException", "DivergenceError"}  # errors whose text says it all


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
    from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException

    if isinstance(error, ConfigError):
        return one_line(error)
    if isinstance(error, OSError) and error.errno:
        return explain_file(error)
    if isinstance(error, yaml.MarkedYAMLError):
        return describe_yaml(error, error.problem_mark.name if error.problem_mark else "an option file")
    if isinstance(error, OverrideParseException):
        right = "write key=value, and quote a value that holds commas, braces or quotes: 'key=\"value\"'"
        return f"{error.override}: not readable as an override; {right}"
    group, _, option = (getattr(error, "missing_cfg_file", None) or "").partition("/")
    # Hydra lists the options for one choice, but not for one of several: callbacks=[default,nope]
    if isinstance(error, MissingConfigException) and (error.options or options(group, folders)):
        known = sorted(name for name in error.options or options(group, folders) if not name.startswith("_"))
        return f"{group}={option}: no such option; choose one of: {', '.join(known)}"
    # OmegaConf knows which key it stopped at; Hydra chains its error behind an own one
    cause = error if isinstance(error, OmegaConfBaseException) else error.__cause__ or error.__context__
    if (known := explain_key(cause, overrides, config_name, schema, folders)) is not None:
        return known
    if "Could not delete" in str(error):
        given = next((o for o in overrides if o.startswith("~") and o[1:].split("=")[0] in str(error)), "~")
        return f"{given}: there is no such key to leave out"
    if isinstance(error, KeyError):
        return f"{error.args[0]}: missing from the config, and needed; do not leave it out"
    if isinstance(error, ConfigCompositionException) or "group override must be" in str(error):
        return no_option(overrides, folders) or misplaced(overrides, schema, folders) or one_line(error)
    if type(error).__name__ in TELLING or isinstance(error, (RuntimeError, OSError, ValueError)):
        return one_line(error) or type(error).__name__
    return f"{type(error).__name__}: {one_line(error)}"


def explain_key(cause, overrides: Sequence[str], config_name: str, schema, folders) -> str | None:
    """What OmegaConf found wrong with a key; None for any other error."""
    key = str(getattr(cause, "full_key", None) or "")
    if key and isinstance(cause, (ConfigKeyError, ConfigAttributeError)):
        if key.startswith("hydra."):
            return f"{key}: unknown key of Hydra's; ebm-train --hydra-help lists them"
        group, _, option = key.partition(".")
        if option and option in options(group, folders):  # one of several that may be chosen at once
            also = f"default,{option}" if group == "callbacks" else option
            return f"{key}: not chosen; choose it too with {group}=[{also}]"
        cfg = compose_groups(overrides, config_name, folders)
        node = parent_of(key, cfg)
        if OmegaConf.is_list(node):
            parent = key.rpartition(".")[0]
            given = str(OmegaConf.to_container(node)).replace(" ", "")
            return f"{key}: one entry of a list cannot be set by itself; give the list: {parent}={given}"
        if "." not in key:
            return unknown(key, root_keys(schema), deeper(key, cfg))
        return unknown(key, siblings(key, node, folders))
    if isinstance(cause, InterpolationResolutionError):  # which does not always know its key
        given = next((f"{override}: " for override in overrides if "${" in override), "")
        return given + one_line(str(cause).splitlines()[0])
    if key and isinstance(cause, ValidationError):
        value = "" if (given := chosen(overrides).get(key)) is None else f"={given}"
        return f"{key}{value}: {one_line(str(cause.msg).splitlines()[0])}"
    return None


def explain_file(error: OSError) -> str:
    """A file and what is wrong with it; what was written before is whole."""
    file = error.filename if error.filename is not None else "a file"
    full = "; make room and go on: what was written before is whole" if error.errno == errno.ENOSPC else ""
    return f"{file}: {(error.strerror or 'cannot be used').lower()}{full}"


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


def no_option(overrides: Sequence[str], folders=()) -> str | None:
    """What is wrong with the first group that is given something else than the name of an option."""
    for key, value in chosen(overrides).items():
        if not key:
            return f"={value}: the key is missing; write key=value"
        known = options(key, folders)
        if known and (value in ("", "null") or value[0] in "{0123456789"):
            return f"{key}={value}: name an option; choose one of: {', '.join(known)}"
    return None


def compose_groups(overrides: Sequence[str], config_name: str, folders=()):
    """The config that the groups of the command line choose, without its single values; None if they are wrong too."""
    from hydra import compose
    from hydra.errors import HydraException

    with composing():
        choices = [o for o in overrides if not o.startswith("~") and options(o.partition("=")[0].lstrip("+"), folders)]
        try:
            return compose(config_name, [*choices, *search_path(folders)])
        except (HydraException, OmegaConfBaseException):
            return None


def parent_of(key: str, node):
    """The node below ``node`` that the last part of ``key`` was looked for in; None if there is none."""
    for part in key.split(".")[:-1]:
        node = node.get(part) if OmegaConf.is_dict(node) else None
    return node


def siblings(key: str, node, folders=()) -> list[str]:
    """The keys that could stand in place of the last part of ``key``, which is not in ``node``."""
    keys = [str(k) for k in node if k != "_target_"] if OmegaConf.is_dict(node) else []
    return keys or options(key.split(".")[0], folders)  # several at once, each under its own name: metrics, callbacks


def deeper(name: str, cfg) -> list[str]:
    """Full keys whose last part is ``name``: ``optimizer.lr`` for ``lr``; a recipe's only where no other has it."""
    nodes = OmegaConf.to_container(cfg) if cfg is not None else {}
    found = [f"{group}.{name}" for group, node in nodes.items() if isinstance(node, dict) and name in node]
    return [key for key in found if not key.startswith("recipe.")] or found


def root_keys(schema) -> list[str]:
    """The keys of a command, and the group of presets."""
    return [*schema.__dataclass_fields__, "experiment"]
