"""Trains, samples and evaluates what a table lacks, each step a command of its own: killed and continued at will."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

from ebm_cli.tables.results import Results
from ebm_cli.tables.rows import Row
from ebm_cli.tables.table import Table
from ebm_cli.utils.files import read_json


def fill(table: Table, results: Results, seeds: list[int], only: list[str] | None) -> list[str]:
    """Runs whatever is missing, row by row and seed by seed; every result is written as soon as it is there.

    Several processes may fill one table: each takes what no other has taken.

    Args:
        only: names of rows to fill; None fills all.

    Returns:
        one line per step that failed; other rows go on.
    """
    failures = []
    for name, row in table.rows.items():
        if (only and name not in only) or not row.runs:
            continue
        for seed in seeds:
            with results.claim(name, row, seed) as mine:
                failures += measure_into(results, name, row, seed) if mine else []
    return failures


def measure_into(results: Results, name: str, row: Row, seed: int) -> list[str]:
    """Measures one row under one seed and keeps it; the line that says so if a step fails."""
    try:
        results.put(name, row, seed, *measure(name, row, seed))
        return []
    except CommandFailed as error:
        line = f"{name}, seed {seed}: {error}"
        print(line, file=sys.stderr, flush=True)
        return [line]


class CommandFailed(RuntimeError):
    """A command left with a status other than 0; the message is its last line."""


def measure(name: str, row: Row, seed: int) -> tuple[dict, dict, dict]:
    """Metrics, reasons of what was skipped, and origin of one row under one seed."""
    stamp, since = f"seed-{seed}-{fingerprint(row)}", time.monotonic()
    if row.train is not None:
        directory = Path("outputs/runs") / f"table-{name}" / stamp
        if not (directory / "metrics.json").is_file():  # written last: the training is complete
            run_command("ebm-train", *row.train, f"name=table-{name}", f"seed={seed}", "logger=csv", stamp=stamp)
        source, found = [f"run={directory}"], []
    else:
        directory = Path("outputs/baselines") / name / stamp
        if not (directory / "metrics.json").is_file():
            run_baseline(*row.baseline, "--seed", str(seed), "--directory", str(directory))
        source, found = [f"samples={directory / 'samples.npz'}", f"name=table-{name}"], [directory / "metrics.json"]
    seconds = time.monotonic() - since
    if row.evaluate:
        run_command("ebm-eval", *source, *row.evaluate, f"seed={seed}", stamp=stamp)
        found.append(Path("outputs/evals") / f"table-{name}" / stamp / "metrics.json")
    return merge(found, seconds)


def merge(files: list[Path], seconds: float) -> tuple[dict, dict, dict]:
    """The content of several metrics.json."""
    metrics, skipped, origin = {}, {}, {}
    for file in files:
        content = read_json(file)
        metrics, skipped = metrics | content["metrics"], skipped | content["skipped"]
        origin = {"commit": content["commit"], "versions": content["versions"], "train_seconds": round(seconds, 1)}
    return metrics, skipped, origin


def fingerprint(row: Row) -> str:
    """Hash of the commands that train a row, so that a changed row never resumes the run of an older one."""
    training = {key: value for key, value in row.commands.items() if key != "evaluate"}
    return hashlib.sha256(json.dumps(training).encode()).hexdigest()[:8]


def run_command(verb: str, *arguments: str, stamp: str) -> None:
    """Runs one of our commands in a process of its own."""
    run([str(Path(sysconfig.get_path("scripts")) / verb), *arguments], {"EBM_RUN_STAMP": stamp})


def run_baseline(*arguments: str) -> None:
    run([sys.executable, "-m", "ebm_cli.baselines", *arguments], {})


def run(arguments: list[str], settings: dict[str, str]) -> None:
    """Runs a command, its output passed through.

    Raises:
        CommandFailed: with the last line of its standard error.
    """
    print("$", Path(arguments[0]).name, *arguments[1:], file=sys.stderr, flush=True)
    inherited = {k: v for k, v in os.environ.items() if k not in ("EBM_RUN_STAMP", "HYDRA_FULL_ERROR")}
    done = subprocess.run(arguments, env=inherited | settings, stderr=subprocess.PIPE, stdout=sys.stderr, text=True)
    if done.returncode:
        raise CommandFailed((done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1])
