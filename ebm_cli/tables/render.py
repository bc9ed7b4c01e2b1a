"""A table as Markdown, CSV or LaTeX, and its place in a document."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from ebm_cli.tables.results import Results
from ebm_cli.tables.rows import Column, Published, Row
from ebm_cli.tables.table import Table
from ebm_cli.utils import markdown
from ebm_cli.utils.files import write_text

NOTHING = "—"


def cells(table: Table, results: Results, seeds: list[int]) -> list[tuple[str, ...]]:
    """Head and rows: ours as mean ± standard deviation over seeds, and the published value where any row has one."""
    quoted = {name for row in table.rows.values() for name in row.published}
    head = ["model"]
    for name, column in table.columns.items():
        head += [column.title, f"{column.title}, published"] if name in quoted else [column.title]
    lines = [tuple(head)]
    for row_name, row in table.rows.items():
        line = [row.title]
        for name, column in table.columns.items():
            line.append(cell(table, results, seeds, row_name, column))
            if name in quoted:
                line.append(theirs(row.published.get(name), column, marks(table)))
        lines.append(tuple(line))
    return lines


def ours(found, column: Column) -> str:
    """``mean ± standard deviation``."""
    if found is None:
        return NOTHING
    average, spread, _ = found
    text = number(average * column.scale, column)
    return text if spread is None else f"{text} ± {number(spread * column.scale, column)}"


def theirs(found: Published | None, column: Column, mark: dict[str, int]) -> str:
    """The published value and the number of its source."""
    if found is None:
        return NOTHING
    return f"{found.value:g} [{mark[found.source]}]" + (" unverified" if found.unverified else "")


def number(value: float, column: Column) -> str:
    return f"{value:.{column.decimals}f}"


def marks(table: Table) -> dict[str, int]:
    """Numbers of the sources, in the order of their first use."""
    used = [entry.source for row in table.rows.values() for entry in row.published.values()]
    return {source: i + 1 for i, source in enumerate(dict.fromkeys(used))}


def footnotes(table: Table, results: Results, seeds: list[int]) -> list[str]:
    """Note, number of seeds, sources."""
    counts = {n for name, row in table.rows.items() if (n := measured(name, row, results, seeds))}
    spread = [f"Ours: mean ± standard deviation over {span(counts)} seeds."] if max(counts, default=0) > 1 else []
    return [
        *([table.note] if table.note else []),
        *spread,
        *(f"[{n}] {table.sources[s]}" for s, n in marks(table).items()),
    ]


def measured(name: str, row: Row, results: Results, seeds: list[int]) -> int:
    """Seeds that a row has numbers for."""
    return sum(results.entry(name, row, seed) is not None for seed in seeds)


def span(counts: set[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


# Formats -----------------------------------------------------------------------------------------------------------


def as_markdown(table: Table, results: Results, seeds: list[int]) -> str:
    return titled(table, [markdown.table(cells(table, results, seeds))], results, seeds)


def titled(table: Table, parts: list[str], results: Results, seeds: list[int]) -> str:
    """Title, parts, notes."""
    notes = "  \n".join(footnotes(table, results, seeds))
    return "\n\n".join([f"**{table.title}**", *parts, notes]).rstrip()


def as_grid(table: Table, results: Results, seeds: list[int]) -> str:
    """One small table per column, for row titles of the form ``what: how``: a line per what, a column per how."""
    titles = {name: row.title.partition(": ")[::2] for name, row in table.rows.items()}
    names = {title: name for name, title in titles.items()}
    whats, hows = (list(dict.fromkeys(parts)) for parts in zip(*titles.values(), strict=True))
    tables = []
    for column in table.columns.values():
        lines = [(column.title, *hows)]
        for what in whats:
            of = [names.get((what, how)) for how in hows]
            lines.append((what, *(NOTHING if n is None else cell(table, results, seeds, n, column) for n in of)))
        tables.append(markdown.table(lines))
    return titled(table, tables, results, seeds)


def cell(table: Table, results: Results, seeds: list[int], row: str, column: Column) -> str:
    """What we measured for a row."""
    return ours(results.summary(row, table.rows[row], column.metric, seeds), column)


def as_csv(table: Table, results: Results, seeds: list[int]) -> str:
    """One line per row and metric, for programs: full precision, published value and source in columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "metric", "mean", "std", "seeds", "published", "unverified", "source"])
    for row_name, row in table.rows.items():
        for name, column in table.columns.items():
            found = results.summary(row_name, row, column.metric, seeds) or ("", "", 0)
            quote = row.published.get(name)
            known = (
                [quote.value / column.scale, quote.unverified, table.sources[quote.source]] if quote else ["", "", ""]
            )
            writer.writerow([row_name, column.metric, *("" if v is None else v for v in found), *known])
    return text.getvalue().rstrip()


def as_latex(table: Table, results: Results, seeds: list[int]) -> str:
    """A tabular for the package booktabs."""
    head, *rows = cells(table, results, seeds)
    lines = [r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}", r"\toprule", joined(head), r"\midrule"]
    lines += [joined(row) for row in rows] + [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(f"% {note}" for note in footnotes(table, results, seeds))])


def joined(row: tuple[str, ...]) -> str:
    plain = (re.sub(r"([&%_#$])", r"\\\1", cell).replace("±", r"$\pm$").replace(NOTHING, "---") for cell in row)
    return " & ".join(plain) + r" \\"


FORMATS = {"markdown": as_markdown, "grid": as_grid, "csv": as_csv, "latex": as_latex}


# In a document -----------------------------------------------------------------------------------------------------

BLOCK = re.compile(r"<!-- table: ([^>\n]+) -->\n(.*?)<!-- /table -->", re.DOTALL)


def place(name: str, format: str, columns: list[str] | None) -> str:
    """How a document marks the place of a table: ``toys``, or ``toys format=grid columns=[kl]``."""
    options = [f"format={format}"] * (format != "markdown") + [f"columns=[{','.join(columns or [])}]"] * bool(columns)
    return " ".join([name, *options])


def blocks(text: str) -> dict[str, str]:
    """The tables of a document by place, as they stand between ``<!-- table: PLACE -->`` and ``<!-- /table -->``."""
    return {name: content.strip() for name, content in BLOCK.findall(text)}


def insert(file: Path, where: str, content: str) -> None:
    """Replaces a table in a document.

    Raises:
        ValueError: if the document has no place for it.
    """
    text = file.read_text() if file.is_file() else ""
    if where not in blocks(text):
        raise ValueError(
            f"into={file}: no place for this table; write <!-- table: {where} --> and <!-- /table --> there"
        )
    block = f"<!-- table: {where} -->\n\n{content}\n\n<!-- /table -->"
    write_text(file, BLOCK.sub(lambda found: block if found[1] == where else found[0], text))
