"""From the command line to a task: Hydra composes, everything is checked, errors are one line."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sys
import tempfile
import time
import typing
from pathlib import Path

import yaml
from omegaconf import DictConfig

from ebm_cli.config import smoke
from ebm_cli.config.check import check_composed
from ebm_cli.config.errors import ConfigError, one_line, unknown
from ebm_cli.config.options import conf_dir, default_option, option_node, options, root_node
from ebm_cli.config.schema import SCHEMAS, TrainConfig


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
    if chosen & {"dataset", "recipe"} and kept.get("recipe"):  # all recipes have the same keys, but for those of base
        kept["recipe"].pop("base", None)
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
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(run)()
    except Exception as error:
        if wants_stack:
            raise
        stop(verb, error)


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
