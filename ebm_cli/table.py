"""ebm-table: a table of ours beside the published values, filled on demand."""

from __future__ import annotations

import sys

from ebm_cli.config import ConfigError
from ebm_cli.config.launch import launch
from ebm_cli.config.schema import TableConfig


def main() -> None:
    """Entry point of the `ebm-table` command."""
    launch("ebm-table", show, TableConfig, lambda arguments: ("table", {}))


def show(cfg) -> None:
    """Fills the table where `run_missing` says so, and prints it."""
    from pathlib import Path

    from hydra.core.hydra_config import HydraConfig

    from ebm_cli.config import build
    from ebm_cli.tables import fill, render

    name, table = HydraConfig.get().runtime.choices["table"], build(cfg.table, "table")
    if cfg.format not in render.FORMATS:
        raise ConfigError(f"format={cfg.format}: choose one of {', '.join(render.FORMATS)}")
    for row in cfg.rows or []:
        if row not in table.rows:
            raise ConfigError(f"rows={row}: no such row in table={name}; rows are {', '.join(table.rows)}")
    if cfg.run_missing and not any(row.runs for row in table.rows.values()):
        raise ConfigError(f"run_missing=true: table={name} names nothing to run; leave it out")
    results, seeds = table.results(Path(cfg.results) / f"{name}.json"), table.seeds(list(cfg.seeds))
    failures = fill.fill(table, results, seeds, list(cfg.rows or []) or None) if cfg.run_missing else []
    shown = table.only(list(cfg.columns)) if cfg.columns else table
    text = render.FORMATS[cfg.format](shown, results, seeds)
    if cfg.into:
        render.insert(Path(cfg.into), render.place(name, cfg.format, cfg.columns), text)
    print(text)
    if failures:
        sys.exit(1)
