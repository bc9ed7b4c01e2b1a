"""Where runs are: a folder, a checkpoint, or the newest of all; and the config that a command takes over from one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from ebm_cli.config import ConfigError
from ebm_cli.config.kept import read_kept
from ebm_cli.config.launch import values_in

RUNS = Path("outputs/runs")


def find_run(path: str | Path) -> Path:
    """The run that ``path`` means: a folder with ``config.yaml``, a checkpoint file, or ``latest``.

    Raises:
        ConfigError: if there is no run there, or one whose links lead out of it.
    """
    place = Path(path).expanduser()
    if str(path) == "latest" or place.name == "latest":
        place = find_latest(RUNS if str(path) == "latest" else place.parent, str(path))
    if "${" in str(place.resolve()):
        raise ConfigError(f"run={path}: Hydra would evaluate the ${{...}} in this path; rename the folder")
    if place.suffix == ".ckpt":
        if not place.is_file():
            raise ConfigError(f"run={path}: no such checkpoint")
        refuse_links(place)
        return place.absolute()
    if not (place / "config.yaml").is_file():
        raise ConfigError(f"run={path}: no run there (no config.yaml)")
    place = place.resolve()
    refuse_links(place)
    return place


def find_latest(runs: Path, path: str) -> Path:
    """The run that ``latest`` points to; without such a link, the one whose config was written last.

    Raises:
        ConfigError: if there is none.
    """
    link = runs / "latest"
    if link.is_symlink() and (link / "config.yaml").is_file():
        return link.resolve()
    found = [file for file in runs.glob("*/*/config.yaml") if not file.parents[1].is_symlink()]
    if found:
        return max(found, key=lambda file: (file.stat().st_mtime, str(file))).parent
    if (link / "config.yaml").is_file():  # no link but a folder
        return link
    raise ConfigError(f"run={path}: no run yet; train one with ebm-train")


def refuse_links(place: Path) -> None:
    """Raises ConfigError for a checkpoint, or anything in a run, that is a link out of the run's folder and outputs/.

    Links inside are fine; through one that leads out, somebody else's run could read or overwrite a file of yours.
    """
    folder = place.parent if place.is_file() else place
    home, outputs = folder.resolve(), Path("outputs").resolve()
    links = (
        [place] if place.is_file() else [Path(at) / name for at, *names in os.walk(folder) for name in sum(names, [])]
    )
    for link in links:
        if link.is_symlink():
            end = link.resolve()
            if not (end.is_relative_to(home) or end.is_relative_to(outputs)):
                raise ConfigError(f"{link}: a link that leads out of the run, to {end}; copy the file in its place")


def folder_of(run: Path) -> Path | None:
    """The folder of a run; of a checkpoint the run that it lies in, None where it lies alone."""
    if run.is_dir():
        return run
    folder = run.parent.parent
    return folder if run.parent.name == "checkpoints" and (folder / "config.yaml").is_file() else None


def read_config(run: Path, given: Sequence[str] = ()) -> dict:
    """The config of a run, plain and checked: that of its folder, or the one that a checkpoint file holds.

    Raises:
        ConfigError: for a file that is damaged, or that no ``ebm-train`` has written.
    """
    if run.is_dir():
        return read_kept(run / "config.yaml", given)
    from ebm_cli.runs.files import read_checkpoint

    return read_checkpoint(run, given)["hyper_parameters"]["config"]


def named_run(arguments: list[str], default: str | None = None) -> Path | None:
    """The run that the command line names, else the default; None for neither."""
    path = values_in(arguments).get("run", default)
    return None if path in (None, "null") else find_run(path)


def inherit(
    arguments: list[str], groups: list[str], run: Path | None, without: tuple[str, ...] = ("trainer", "logger")
) -> dict:
    """The config of a run, less what the command line chooses anew; empty without a run.

    A node whose option is chosen anew (``sampler=mala``) is left out, so that no key of the old option stays on it.

    Args:
        groups: config groups that the command line may choose anew.
        run: as ``named_run`` gives it.
        without: parts of the run's config that are not inherited.
    """
    if run is None:
        return {}
    keys = {key.lstrip("+~") for key in values_in(arguments)}
    kept = {key: value for key, value in read_config(run, [*keys, *without]).items() if key not in without}
    anew = {group for group in groups if group in keys}
    if anew & {"dataset", "recipe"} and kept.get("recipe"):  # all recipes have the same keys, but for those of base
        kept["recipe"].pop("base", None)
    return {key: value for key, value in kept.items() if key not in anew} | {"run": str(run)}


def point_latest(run: Path) -> None:
    """Makes ``outputs/runs/latest`` point to ``run``, in one rename; where it cannot, it says so and goes on.

    Without the link, ``latest`` is the run whose config was written last.
    """
    if len(run.parents) < 2 or run.parents[1].name != "runs":
        return
    link = run.parents[1] / "latest"
    beside = link.with_name(f"latest.{os.getpid()}")
    try:
        if link.is_dir() and not link.is_symlink():
            raise IsADirectoryError("it is a folder")
        beside.symlink_to(run.relative_to(link.parent))
        os.replace(beside, link)
    except OSError as error:
        beside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        sys.stderr.write(f"warning: {link} cannot be made to point to this run ({reason}); run=latest goes by dates\n")
