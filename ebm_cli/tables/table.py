"""A table of results, checked when it is built: every column, source and key that it names exists."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

from ebm_cli.tables.results import Results
from ebm_cli.tables.rows import Column, Published, Row


class Table:
    """A table of results.

    Args:
        title: one line.
        note: what a reader must know: protocol, budget; null for nothing.
        columns: by name, keywords of ``Column``.
        rows: by name, keywords of ``Row``; ``published`` is ``[value, source]`` or ``[value, source, unverified]``.
        evaluate: overrides of ebm-eval for every row that names none.
        sources: where published values come from, by key.

    Raises:
        ValueError: for a row or a column with a key that there is not, an unknown column or source, or a row with both
            ``train`` and ``baseline``.
    """

    def __init__(
        self,
        *,
        title: str,
        note: str | None = None,
        columns: dict,
        rows: dict,
        evaluate: list[str] = (),
        sources: dict | None = None,
    ):
        self.title, self.note, self.sources = title, note, dict(sources or {})
        self.columns = {name: made(Column, given, f"columns.{name}") for name, given in columns.items()}
        self.rows = {name: self.row(name, given, list(evaluate)) for name, given in rows.items()}

    def results(self, file: Path) -> Results:
        """What has been measured for this table, kept in ``file``."""
        return Results(file)

    def seeds(self, default: list[int]) -> list[int]:
        """The seeds that a row is averaged over."""
        return default

    def only(self, columns: list[str]) -> Table:
        """The same table with some of its columns.

        Raises:
            ValueError: for a column that there is not.
        """
        for name in columns:
            if name not in self.columns:
                raise ValueError(f"columns={name}: no such column; choose from {', '.join(self.columns)}")
        fewer = copy(self)
        fewer.columns = {name: self.columns[name] for name in columns}
        fewer.rows = {
            name: replace(row, published={k: v for k, v in row.published.items() if k in columns})
            for name, row in self.rows.items()
        }
        return fewer

    def row(self, name: str, given: dict, evaluate: list[str]) -> Row:
        """A row from its mapping, its published values read."""
        published = {column: self.quoted(name, column, entry) for column, entry in given.get("published", {}).items()}
        row = made(Row, {"evaluate": evaluate} | given | {"published": published}, f"rows.{name}")
        if row.train is not None and row.baseline is not None:
            raise ValueError(f"rows.{name}: give train or baseline, not both")
        return row

    def quoted(self, row: str, column: str, entry) -> Published:
        """``[value, source]`` or ``[value, source, unverified]`` as a ``Published``."""
        where = f"rows.{row}.published.{column}"
        if column not in self.columns:
            raise ValueError(f"{where}: no such column; choose from {', '.join(self.columns)}")
        rest = list(entry[2:]) if isinstance(entry, (list, tuple)) and len(entry) in (2, 3) else None
        if rest is None or rest not in ([], ["unverified"]):
            raise ValueError(f"{where}={entry}: expected [value, source] or [value, source, unverified]")
        if entry[1] not in self.sources:
            raise ValueError(f"{where}: no source {entry[1]!r}; sources are {', '.join(self.sources) or 'none'}")
        return Published(float(entry[0]), entry[1], bool(rest))


def made(kind, given: dict, where: str):
    """``kind(**given)``, unknown and missing keys named."""
    known = kind.__dataclass_fields__
    for key in given:
        if key not in known:
            raise ValueError(f"{where}.{key}: unknown key; takes {', '.join(known)}")
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error
