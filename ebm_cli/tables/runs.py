"""The runs of a folder as a table: what they were asked for, their numbers, seeds taken together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from ebm_cli.tables.results import Results
from ebm_cli.tables.sweeps import metrics_of, words_of
from ebm_cli.tables.table import Row, Table

SPELLING = {"True": "true", "False": "false", "None": "null"}  # sweeps write them as Python does


class Runs(Table):
    """A row for all runs that were asked for with the same words but for their seed; of one seed the newest counts.

    Words that all runs have stand in the note. Numbers are those of ``metrics.json`` of the run, ``updates`` among
    them, and of its evaluations, of which the newest counts. Columns without any number are left out; runs that did
    not finish have none.

    Args:
        title: one line.
        columns: by name, keywords of ``Column``.
        runs: patterns of the directories of runs, from the working directory.
        evaluations: patterns of the directories of evaluations.
    """

    def __init__(self, *, title: str, columns: dict, runs: Sequence[str], evaluations: Sequence[str]):
        judged = evaluated(evaluations)
        self.found: dict[str, dict[int, dict]] = {}
        for directory in directories(runs, "config.yaml"):
            metrics = trained(directory) | judged.get(directory.resolve(), {})
            self.found.setdefault(asked(directory), {})[seed_of(directory)] = metrics
        measured = {metric for seeds in self.found.values() for metrics in seeds.values() for metric in metrics}
        shared = in_all([words.split(" ") for words in self.found])
        super().__init__(
            title=title,
            note=said(shared) if self.found else f"No run in {' or '.join(runs)}: ebm-train makes one.",
            columns={name: column for name, column in columns.items() if column["metric"] in measured},
            rows={words: {"title": without(words, shared)} for words in self.found},
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


def directories(patterns: Sequence[str], file: str) -> list[Path]:
    """The directories that hold a file, the oldest file first; links are passed over."""
    found = {path for pattern in patterns for path in Path().glob(pattern) if (path / file).is_file()}
    real = [path for path in found if not any(part.is_symlink() for part in (path, *path.parents))]
    return sorted(real, key=lambda path: ((path / file).stat().st_mtime, path))


def asked(run: Path) -> str:
    """The words of a run but for its seed; its name where there are none."""
    pairs = (word.partition("=") for word in words_of(run) if not word.startswith("seed="))
    return " ".join(f"{key}{sign}{SPELLING.get(value, value)}" for key, sign, value in pairs) or run.parent.name


def in_all(requests: list[list[str]]) -> list[str]:
    """The words that all of several requests have, in the order of the first; none of a single one."""
    return [word for word in requests[0] if all(word in r for r in requests)] if len(requests) > 1 else []


def without(words: str, shared: list[str]) -> str:
    return " ".join(word for word in words.split(" ") if word not in shared) or "(no more)"


def said(shared: list[str]) -> str | None:
    return f"All with {' '.join(shared)}." if shared else None


def seed_of(run: Path) -> int:
    return yaml.safe_load((run / "config.yaml").read_text())["seed"]


def trained(run: Path) -> dict:
    """What a run wrote when it was finished, with the updates that it made; nothing before."""
    metrics = metrics_of(run)
    made = [value["protocol"]["update"] for value in metrics.values() if "update" in value["protocol"]]
    return metrics | ({"updates": {"value": max(made)}} if made else {})


def evaluated(patterns: Sequence[str]) -> dict[Path, dict]:
    """The metrics of all evaluations by the run that they are of."""
    judged: dict[Path, dict] = {}
    for directory in directories(patterns, "metrics.json"):
        content = json.loads((directory / "metrics.json").read_text())
        if content.get("run"):
            judged.setdefault(Path(content["run"]).resolve(), {}).update(content["metrics"])
    return judged
