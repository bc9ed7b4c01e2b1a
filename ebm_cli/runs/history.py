"""metrics.csv: the history of a run, one row per logged step, continued when the run is."""

from __future__ import annotations

import csv
from pathlib import Path

from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from ebm_cli.config import ConfigError
from ebm_cli.utils.files import atomic


class History(Logger):
    """Writes ``metrics.csv`` into the run directory; a resumed run appends where its checkpoint left off.

    Args:
        directory: the run directory.
    """

    def __init__(self, *, directory: str):
        super().__init__()
        self.file = Path(directory) / "metrics.csv"
        self.rows = read_rows(self.file)

    @property
    def name(self) -> str:
        """Empty, so that a ``ModelCheckpoint`` without a folder writes to ``checkpoints`` in the run directory."""
        return ""

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.file.parent)

    @rank_zero_only
    def log_hyperparams(self, params, *args, **kwargs) -> None:
        """The config stands in config.yaml beside this file."""

    @rank_zero_only
    def log_metrics(self, metrics: dict, step: int | None = None) -> None:
        """Adds values to the row of ``step``."""
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows = [row for row in self.rows if row["step"] < step]  # a resumed run goes over lost steps again
            self.rows.append({"step": step})
        self.rows[-1] |= {k: float(v) for k, v in metrics.items()}

    @rank_zero_only
    def save(self) -> None:
        """Writes all rows beside the file and renames, so that it is whole at any moment."""
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with atomic(self.file, newline="") as out:
            writer = csv.DictWriter(out, columns)
            writer.writeheader()
            writer.writerows(self.rows)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.save()


def read_rows(file: Path) -> list[dict]:
    """The rows of a metrics.csv: numbers by column, empty cells left out; no file, no rows.

    Raises:
        ConfigError: naming a file that is none.
    """
    if not file.is_file():
        return []
    try:
        with file.open(newline="", encoding="utf-8") as lines:
            rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(lines)]
        return [row | {"step": int(row["step"])} for row in rows]
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise ConfigError(f"{file}: not a history that ebm-train wrote; restore it, or move it away") from error
