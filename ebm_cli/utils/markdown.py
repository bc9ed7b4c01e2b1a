"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], align: str = "") -> str:
    """A Markdown table that is readable as plain text, too; empty without rows.

    Args:
        rows: cells by row, the head first; every row has as many.
        align: one letter per column, ``l`` or ``r``; columns beyond the last letter are aligned to the left.

    Example:
        >>> print(table([("metric", "value"), ("fid", "31.2")], align="lr"))
        | metric | value |
        |--------|------:|
        | fid    |  31.2 |
    """
    if not rows:
        return ""
    widths = [max(3, *(len(cell) for cell in column)) for column in zip(*rows, strict=True)]
    align = align.ljust(len(widths), "l")
    head, *body = (align_row(row, widths, align) for row in rows)
    rule = "|".join(
        "-" * (width + 1) + (":" if side == "r" else "-") for width, side in zip(widths, align, strict=True)
    )
    return "\n".join([head, f"|{rule}|", *body])


def align_row(row: Sequence[str], widths: Sequence[int], align: str) -> str:
    """One line, every cell padded to the width of its column."""
    columns = zip(row, widths, align, strict=True)
    cells = (cell.rjust(width) if side == "r" else cell.ljust(width) for cell, width, side in columns)
    return f"| {' | '.join(cells)} |"
