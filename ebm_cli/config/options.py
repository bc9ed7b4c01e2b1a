"""The option files of a config group: which there are, and what one of them holds."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from ebm_cli.config.errors import ConfigError


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
    """Where the option files are: inside the package as the wheel has it, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def root_node(name: str) -> dict:
    return yaml.safe_load((conf_dir() / "train.yaml").read_text()).get(name) or {}


def default_option(group: str) -> str | None:
    """The option that conf/train.yaml chooses for a group."""
    entries = yaml.safe_load((conf_dir() / "train.yaml").read_text())["defaults"]
    return next((e[group] for e in entries if isinstance(e, dict) and group in e), None)
