"""Sweeps: what its jobs have come to, as a table beside them; jobs that are finished are not run again."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from hydra.experimental.callback import Callback

from ebm_cli.config import ConfigError
from ebm_cli.config.kept import read_yaml
from ebm_cli.utils import markdown
from ebm_cli.utils.files import read_json, write_text

METRICS = ("validation/", "energy/gap", "classifier/accuracy", "density/", "steps_per_second")  # columns, if there


class Sweep(Callback):
    """Hydra's hook in a sweep: ``summary.md`` and ``summary.csv`` in its directory, written anew after every job."""

    def on_job_end(self, config, job_return, **kwargs) -> None:
        if str(config.hydra.mode) == "RunMode.MULTIRUN":
            self.summarize(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config, **kwargs) -> None:
        table = self.summarize(Path(config.hydra.sweep.dir))
        if table:
            print(f"\n{table}\nsweep: {config.hydra.sweep.dir}")

    def summarize(self, directory: Path) -> str | None:
        """Writes both tables on rank 0, and returns the Markdown one; None without jobs."""
        rows = [summarize_job(job) for job in find_jobs(directory)]
        if not rows or os.environ.get("LOCAL_RANK", "0") != "0":
            return None
        write_text(directory / "summary.csv", as_csv(rows))
        write_text(directory / "summary.md", as_markdown(rows))
        return as_markdown(rows)


def find_jobs(directory: Path) -> list[Path]:
    """The directories of a sweep's jobs, in the order of their numbers."""
    found = [file.parent.parent for file in directory.glob("*/.hydra/overrides.yaml")]
    return sorted(found, key=lambda job: int(job.name.split("-")[0]) if job.name[0].isdigit() else -1)


def summarize_job(job: Path) -> dict:
    """One line of the summary: the job, its overrides, whether it finished, and its last values."""
    given = dict(override.lstrip("+").split("=", 1) for override in read_overrides(job))
    values = read_metrics(job)
    kept = {name: found["value"] for name, found in values.items() if name.startswith(METRICS)}
    return {"job": job.name} | given | {"state": "finished" if values else "failed"} | kept


def read_overrides(run: Path) -> list[str]:
    """The overrides of a run, or of a job of a sweep."""
    file = run / ".hydra" / "overrides.yaml"
    given = (read_yaml(file) if file.is_file() else None) or []
    if not isinstance(given, list) or not all(isinstance(override, str) for override in given):
        raise ConfigError(f"{file}: not a list of overrides")
    return given


def read_metrics(run: Path) -> dict[str, dict]:
    """The last values of a run that has finished; nothing before."""
    file = run / "metrics.json"
    return metrics_in(read_json(file), file) if file.is_file() else {}


def metrics_in(content: dict, file: Path) -> dict[str, dict]:
    """The numbers in the content of a metrics.json.

    Raises:
        ConfigError: naming a file that is none.
    """
    metrics = content.get("metrics")
    if not isinstance(metrics, dict) or not all(isinstance(v, dict) and "value" in v for v in metrics.values()):
        raise ConfigError(f"{file}: not a metrics.json of this package")
    return metrics


def as_csv(rows: list[dict]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns_of(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_markdown(rows: list[dict]) -> str:
    columns = columns_of(rows)
    return markdown.table([columns, *([shown(row.get(column, "")) for column in columns] for row in rows)]) + "\n"


def columns_of(rows: list[dict]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def shown(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def is_finished(directory: Path, config_text: str) -> bool:
    """Whether a job of a sweep has been finished under the same config, so that a resumed sweep can pass over it."""
    config = directory / "config.yaml"
    return (directory / "metrics.json").is_file() and config.is_file() and config.read_text() == config_text


def lowest(directory: Path) -> float | None:
    """The lowest value of a run's validation metric, from its history; None if it has none."""
    from ebm_cli.runs.history import read_rows  # only training comes here, and has Lightning

    rows = read_rows(directory / "metrics.csv")  # none by trainer.fast_dev_run and trainer.barebones
    return min((v for row in rows for k, v in row.items() if k.startswith("validation/")), default=None)
