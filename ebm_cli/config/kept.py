"""Configs that runs keep. Anybody may have written them, so they are data: checked here before anything reads them."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PureWindowsPath

import yaml

from ebm_cli.config.errors import ConfigError, describe_yaml
from ebm_cli.config.schema import TrainConfig

NAME = re.compile(r"[\w.+=,@ -]+(/[\w.+=,@ -]+)*")
PLACES = {"dirpath", "dir", "directory", "save_dir", "root_dir", "log_dir", "default_root_dir", "tracking_uri", "path"}
AROUND = ("trainer", "logger", "callbacks")  # what writes files: everything of these stays in the run's own folder
LOGGER_KEYS = {"_target_", "project", "name", "version", "group", "tags", "mode", "log_model"}


class PlainLoader(yaml.SafeLoader):
    """YAML without aliases, by which a short text can describe more than a memory holds."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="an alias, which ebm-train does not write", problem_mark=self.peek_event().start_mark
            )
        return super().compose_node(parent, index)


def read_yaml(file: Path):
    """What a YAML file holds.

    Raises:
        ConfigError: with the file and the line of what is wrong.
    """
    try:
        return yaml.load(file.read_text(encoding="utf-8"), PlainLoader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(describe_yaml(error, file)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no text, a date that is none, brackets without end
        raise ConfigError(f"{file}: not a text in YAML") from error
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error


def read_kept(file: Path, given: Collection[str] = ()) -> dict:
    """The config in a run's ``config.yaml``, checked.

    Args:
        given: keys that the command line sets, which the config cannot decide.

    Raises:
        ConfigError: as ``check_kept`` does, and for a file that is not readable.
    """
    return check_kept(read_yaml(file), file, given)


def check_kept(values, file: Path, given: Collection[str] = ()) -> dict:
    """The config of a run, if it is what ``ebm-train`` writes: the keys of a run, plain values, nothing to evaluate.

    ``build`` adds that a node names a class of the kind that its place takes. Here it is checked that

    * there are no keys but those of a run, above all not ``hydra`` or ``defaults``;
    * no text holds an interpolation, which could read the environment or call a resolver;
    * ``name``, and all that trainer, loggers and callbacks write, stays below ``outputs/`` or in the run's folder.

    Data sets are read where the config says, but never downloaded, and wandb is online only if the environment of the
    user says so.

    Args:
        values: what was read.
        file: where from, for messages.
        given: keys that the command line sets, which the config cannot decide.

    Raises:
        ConfigError: naming the file and the key.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: not the config of a run")
    fields = TrainConfig.__dataclass_fields__
    for key in values:
        if key not in fields:
            raise ConfigError(f"{file}: {key}: not a key of a run; ebm-train writes none such")
    lacking = [key for key in ("model", "objective", "sampler", "dataset", "name", "seed") if values.get(key) is None]
    if lacking:
        raise ConfigError(f"{file}: not the config of a run: it lacks {', '.join(lacking)}")
    for path, value in leaves(values):
        check_leaf(path, value, file)
    if "name" not in given and not stays_inside(str(values["name"])):
        raise ConfigError(f"{file}: name={values['name']!r}: a run's name is a folder below outputs/")
    for group in AROUND:
        for path, value in leaves(values.get(group), group):
            if not is_given(path, given):
                check_place(path, value, file)
    return allow_nothing_outward(values)


FACTS = {  # what a checkpoint says of the data: by key, the types
    "shape": list, "support": dict, "n_classes": int | None, "name": str, "class_names": list | None,
    "value_range": list | None, "scaling": dict | None,
}  # fmt: skip


def check_facts(facts, file: Path) -> None:
    """Raises ConfigError for facts of the data that ebm-train does not write, above all a name that is a path.

    Files are called by that name.
    """
    if not isinstance(facts, dict) or set(facts) != set(FACTS):
        raise ConfigError(f"{file}: does not say what the data were, as ebm-train writes it")
    for key, kind in FACTS.items():
        if not isinstance(facts[key], kind):
            raise ConfigError(f"{file}: {key} of the data is {type(facts[key]).__name__}; ebm-train writes no such")
    for path, value in leaves(facts):
        check_leaf(path, value, file)
    if {"/", "\\"} & set(facts["name"]) or leads_away(facts["name"]):
        raise ConfigError(f"{file}: name of the data {facts['name']!r}: a name, no path")


def leaves(value, path: str = "") -> Iterator[tuple[str, object]]:
    """All values that are neither mappings nor lists, with their dotted keys."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from leaves(inner, f"{path}.{i}")
    else:
        yield path, value


def check_leaf(path: str, value, file: Path) -> None:
    """Raises ConfigError for anything but plain text and numbers under plain keys."""
    if "${" in path or (isinstance(value, str) and "${" in value):
        raise ConfigError(f"{file}: {path}: the config of a run holds values, not interpolations")
    odd = next((part for part in path.split(".") if part.startswith("_") and part != "_target_"), None)
    if odd or not isinstance(value, str | int | float | bool | None):
        raise ConfigError(f"{file}: {path}: not a key and value that ebm-train writes")


def check_place(path: str, value, file: Path) -> None:
    """Raises ConfigError where trainer, loggers or callbacks of a run would write or load elsewhere, or anything else
    than ``ebm-train`` lets them."""
    parts = path.split(".")
    group, key, right = parts[0], parts[-1], "give it on the command line if you want it"
    if value is not None and key in PLACES:
        raise ConfigError(f"{file}: {path}={value}: a run writes into its own folder; {right}")
    if isinstance(value, str) and key != "_target_" and leads_away(value):
        raise ConfigError(f"{file}: {path}={value}: a run keeps to its own folder; {right}")
    own_trainer = len(parts) == 2 and value == "pytorch_lightning.Trainer"
    if group == "trainer" and key == "_target_" and not own_trainer:
        raise ConfigError(f"{file}: {path}={value}: a run's trainer is pytorch_lightning.Trainer; {right}")
    if group == "logger" and len(parts) > 2 and parts[2] not in LOGGER_KEYS:
        raise ConfigError(f"{file}: {path}={value}: not a key of a run's logger; {right}")


def leads_away(text: str) -> bool:
    """Whether a text, read as a path or an address, leads out of the folder that it is used in."""
    windows = PureWindowsPath(text)
    return (
        windows.is_absolute()
        or bool(windows.root or windows.drive)
        or "://" in text
        or text[:1] == "~"
        or ".." in windows.parts
    )


def stays_inside(name: str) -> bool:
    """Whether a run's name is a path below the folder of runs."""
    return bool(NAME.fullmatch(name)) and not {"..", "."} & set(name.split("/")) and not name.startswith("/")


def is_given(path: str, given: Collection[str]) -> bool:
    """Whether the command line sets a key, or one above it."""
    parts = path.split(".")
    return any(".".join(parts[:n]) in given for n in range(1, len(parts) + 1))


def allow_nothing_outward(values: dict) -> dict:
    """The config without what it would send or fetch by itself."""
    if isinstance(values["dataset"], dict) and values["dataset"].get("download"):
        values["dataset"]["download"] = False
    for node in (values.get("logger") or {}).values() if isinstance(values.get("logger"), dict) else ():
        if isinstance(node, dict) and "mode" in node:
            node["mode"] = os.environ.get("WANDB_MODE", "offline")
    return values
