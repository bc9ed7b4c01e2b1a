"""Tables: rows of presets and baselines, columns of metrics, ours beside the published values."""

from ebm_cli.tables.rows import Column, Published, Row
from ebm_cli.tables.runs import Runs
from ebm_cli.tables.table import Table

__all__ = ["Column", "Published", "Row", "Runs", "Table"]
