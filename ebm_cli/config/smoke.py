"""trainer=smoke: the sizes of a composed config capped, so that anything runs in seconds along its own code paths."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf


def cap(cfg: DictConfig, file: Path, overrides: list[str]) -> None:
    """Lowers every number that ``file`` bounds, whatever preset set it; values of the command line stay.

    Args:
        cfg: a composed config, changed in place.
        file: YAML of ``pattern: bound``, patterns of dotted keys; null and negative values count as unbounded.
        overrides: the ``key=value`` arguments of the command line.
    """
    given = {override.lstrip("+~").split("=", 1)[0] for override in overrides}
    bounds = yaml.safe_load(file.read_text())
    for key in leaves(cfg):
        bound = next((bound for pattern, bound in bounds.items() if fnmatchcase(key, pattern)), None)
        if bound is not None and key not in given and exceeds(OmegaConf.select(cfg, key), bound):
            OmegaConf.update(cfg, key, bound)


def leaves(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Dotted keys of everything in a config that is no mapping itself."""
    for key in node:
        name = f"{prefix}{key}"
        own = not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key)
        if own and OmegaConf.is_dict(inner := node[key]):
            yield from leaves(inner, f"{name}.")
        elif not OmegaConf.is_missing(node, key):
            yield name


def exceeds(value, bound: float) -> bool:
    """Whether ``value`` is above ``bound`` or unbounded; text and schedules are left alone."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value is None or (number and (value < 0 or value > bound))
