"""What has been measured for a table: one small JSON file per table, tracked by git."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev

from filelock import FileLock, Timeout

from ebm_cli.tables.rows import Row
from ebm_cli.utils.files import write_json

KEEP = ("value", "stderr", "n")  # of a metric; protocols stay in the evaluation's own metrics.json


class Results:
    """Measured numbers by row and seed, with the commands that made them.

    A number is reused only if the commands of its row are unchanged.

    Args:
        file: ``outputs/results/<table>.json``; it need not exist.

    Raises:
        ValueError: if the file is there and cannot be read.
    """

    def __init__(self, file: Path):
        self.file = file
        self.rows = self.read()

    def read(self) -> dict:
        """The rows that the file has now."""
        try:
            return json.loads(self.file.read_text())["rows"] if self.file.is_file() else {}
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            complaint = f"{self.file}: not a file of results ({error}); remove it, or restore it with git"
            raise ValueError(complaint) from error

    def entry(self, name: str, row: Row, seed: int) -> dict | None:
        """What was measured for a row under a seed by the commands that it has now, or None."""
        found = self.rows.get(name, {}).get(str(seed))
        return found if found and found["commands"] == row.commands else None

    def put(self, name: str, row: Row, seed: int, metrics: dict, skipped: dict, origin: dict) -> None:
        """Keeps the metrics of one row under one seed, and writes the file whole.

        Args:
            metrics: as in metrics.json.
            skipped: reason by name.
            origin: commit, versions, seconds.
        """
        kept = {key: {part: value[part] for part in KEEP} for key, value in metrics.items()}
        entry = {"commands": row.commands, **origin, "metrics": kept, "skipped": skipped}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.file.with_suffix(".lock")):
            self.rows = self.read()  # another process may have put something in
            self.rows.setdefault(name, {})[str(seed)] = entry
            write_json(self.file, {"table": self.file.stem, "rows": self.rows})

    @contextmanager
    def claim(self, name: str, row: Row, seed: int) -> Iterator[bool]:
        """Whether a row is to be measured under a seed: nobody has, and no other process does while this is open."""
        with locked(self.file.with_suffix(f".{name}-{seed}.lock"), wait=False) as mine:
            self.rows = self.read()
            yield mine and self.entry(name, row, seed) is None

    def summary(self, name: str, row: Row, metric: str, seeds: list[int]) -> tuple[float, float | None, int] | None:
        """Mean, standard deviation (None for one seed) and number of seeds of a metric; None without any."""
        entries = [self.entry(name, row, seed) for seed in seeds]
        values = [e["metrics"][metric]["value"] for e in entries if e and metric in e["metrics"]]
        if not values:
            return None
        return mean(values), stdev(values) if len(values) > 1 else None, len(values)


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Whether this process has the lock of a file; one that ends, however it does, gives its locks back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
