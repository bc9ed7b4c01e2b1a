"""The runs of a folder as a table: their overrides and their numbers, seeds taken together."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ebm_cli.config import ConfigError
from ebm_cli.config.kept import read_kept
from ebm_cli.tables.results import Results
from ebm_cli.tables.rows import Row
from ebm_cli.tables.sweeps import metrics_in, read_metrics, read_overrides
from ebm_cli.tables.table import Table
from ebm_cli.utils.files import read_json

SPELLING = {"True": "true", "False": "false", "None": "null"}  # sweeps write them as Python does


class Runs(Table):
    """A row for all runs with the same overrides but for their seed; of one seed the newest counts.

    Overrides that all runs have stand in the note. Numbers are those of ``metrics.json`` of the run, ``updates`` among
    them, and of its evaluations, of which the newest counts. Columns without any number are left out; runs that did
    not finish have none.

    Args:
        title: one line.
        columns: by name, keywords of ``Column``.
        runs: patterns of the directories of runs, from the working directory.
        evaluations: patterns of the directories of evaluations.
    """

    def __init__(self, *, title: str, columns: dict, runs: Sequence[str], evaluations: Sequence[str]):
        evaluated = read_evaluations(evaluations)
        self.found: dict[str, dict[int, dict]] = {}
        for directory in find_directories(runs, "config.yaml"):
            with passing_over(directory):
                seed, name = read_kept(directory / "config.yaml")["seed"], overrides_without_seed(directory)
                metrics = read_training(directory) | evaluated.get(identity(directory), {})
                self.found.setdefault(name, {})[seed] = metrics
        measured = {metric for seeds in self.found.values() for metrics in seeds.values() for metric in metrics}
        shared = in_all([overrides.split(" ") for overrides in self.found])
        super().__init__(
            title=title,
            note=describe(shared) if self.found else f"No run in {' or '.join(runs)}: ebm-train makes one.",
            columns={name: column for name, column in columns.items() if column["metric"] in measured},
            rows={overrides: {"title": without(overrides, shared)} for overrides in self.found},
        )

    def results(self, file: Path) -> Results:
        return Found(self.found)

    def seeds(self, default: list[int]) -> list[int]:
        return sorted({seed for seeds in self.found.values() for seed in seeds})


class Found(Results):
    """The numbers of runs, read where they stand."""

    def __init__(self, found: dict[str, dict[int, dict]]):
        self.found = found

    def entry(self, name: str, row: Row, seed: int) -> dict | None:
        metrics = self.found[name].get(seed)
        return {"metrics": metrics} if metrics else None


def find_directories(patterns: Sequence[str], file: str) -> list[Path]:
    """The directories that hold a file, the oldest file first; links are passed over."""
    found = {path for pattern in patterns for path in Path().glob(pattern) if (path / file).is_file()}
    real = [path for path in found if not any(part.is_symlink() for part in (path, *path.parents))]
    return sorted(real, key=lambda path: ((path / file).stat().st_mtime, path))


def overrides_without_seed(run: Path) -> str:
    """The overrides of a run but for its seed; its name where there are none."""
    pairs = (override.partition("=") for override in read_overrides(run) if not override.startswith("seed="))
    return " ".join(f"{key}{sign}{SPELLING.get(value, value)}" for key, sign, value in pairs) or run.parent.name


def in_all(runs: list[list[str]]) -> list[str]:
    """The overrides that all of several runs have, in the order of the first; none of a single one."""
    return [override for override in runs[0] if all(override in run for run in runs)] if len(runs) > 1 else []


def without(overrides: str, shared: list[str]) -> str:
    return " ".join(override for override in overrides.split(" ") if override not in shared) or "(no more)"


def describe(shared: list[str]) -> str | None:
    return f"All with {' '.join(shared)}." if shared else None


@contextmanager
def passing_over(directory: Path) -> Iterator[None]:
    """Leaves out what cannot be read, with a warning that names the file."""
    try:
        yield
    except ConfigError as error:
        sys.stderr.write(f"warning: {directory} is left out: {error}\n")


def identity(run: Path | str) -> tuple[str, ...]:
    """What tells a run from others wherever the folder of all runs lies: the name and the stamp."""
    return Path(run).parts[-2:]


def read_training(run: Path) -> dict:
    """What a run wrote when it was finished, with the updates that it made; nothing before."""
    metrics = read_metrics(run)
    made = [value["protocol"]["update"] for value in metrics.values() if "update" in (value.get("protocol") or {})]
    return metrics | ({"updates": {"value": max(made)}} if made else {})


def folder_name(run: str) -> str:
    """The folder of a run that is named by itself or by a checkpoint in it."""
    return str(Path(run).parent.parent) if run.endswith(".ckpt") else run


def read_evaluations(patterns: Sequence[str]) -> dict[tuple[str, ...], dict]:
    """The metrics of all evaluations by the run that they are of."""
    evaluated: dict[tuple[str, ...], dict] = {}
    for directory in find_directories(patterns, "metrics.json"):
        with passing_over(directory):
            file = directory / "metrics.json"
            content = read_json(file)
            metrics, run = metrics_in(content, file), content.get("run")
            if isinstance(run, str):
                evaluated.setdefault(identity(folder_name(run)), {}).update(metrics)
    return evaluated
