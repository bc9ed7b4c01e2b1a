"""metrics.json, report.md and the printed table of an evaluation."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ebm_cli.runs.provenance import commit, versions
from ebm_cli.utils import markdown
from ebm_cli.utils.files import write_json, write_text


def write(directory: Path, seed: int, origin: dict, values: dict, skipped: dict) -> None:
    """Writes both files whole.

    Args:
        origin: ``run``, ``checkpoint_sha256``, and ``samples`` where a file of samples is evaluated.
        values: ``Value`` by name.
        skipped: reason by name.
    """
    given = {"samples": origin["samples"]} if origin["samples"] else {}
    content = {
        "run": origin["run"],
        "checkpoint_sha256": origin["checkpoint_sha256"],
        "commit": commit(),
        "versions": versions(),
        "seed": seed,
        "metrics": {name: asdict(v) | {"protocol": v.protocol | given} for name, v in values.items()},
        "skipped": skipped,
    }
    directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "metrics.json", content)
    write_text(directory / "report.md", document(content, values, skipped, plots(directory)))


def plots(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.glob("*.png"))


def document(content: dict, values: dict, skipped: dict, images: list[str]) -> str:
    """report.md: table, pictures, and the protocol of every number."""
    lines = [
        "# Evaluation",
        "",
        f"run: `{content['run']}`, checkpoint sha256: `{content['checkpoint_sha256']}`, seed: {content['seed']}, "
        f"commit: `{content['commit']}`",
        "",
        table(values, skipped),
        "",
    ]
    lines += [f"![{name}]({name})\n" for name in images]
    lines += ["## Protocol", ""]
    lines += [f"- `{n}`: {json.dumps(m['protocol'], ensure_ascii=False)}" for n, m in content["metrics"].items()]
    return "\n".join(lines) + "\n"


def table(values: dict, skipped: dict) -> str:
    """The values as Markdown tables (one more per metric with names of four parts), warnings, and what was skipped."""
    single = {name: value for name, value in values.items() if name.count("/") < 3}
    rows = [("metric", "value", "stderr", "n")] if single else []
    rows += [(name, shown(v.value), shown(v.stderr), str(v.n or "")) for name, v in single.items()]
    others = [name for name in values if name not in single]
    parts = [markdown.table(rows)]
    for metric in dict.fromkeys(name.split("/")[0] for name in others):
        parts.append(markdown.table(crossed({name: values[name] for name in others if name.split("/")[0] == metric})))
    parts += ["\n".join(warnings(values)), "\n".join(f"skipped {k}: {v}" for k, v in skipped.items())]
    return "\n\n".join(part for part in parts if part)


def warnings(values: dict) -> list[str]:
    """One line per metric and warning in a protocol."""
    found = ((name.split("/")[0], v.protocol["warning"]) for name, v in values.items() if "warning" in v.protocol)
    return [f"warning {metric}: {text}" for metric, text in dict.fromkeys(found)]


def crossed(values: dict) -> list[tuple]:
    """Rows ``ood/<set>/<score>`` by their numbers; empty without values."""
    columns = list(dict.fromkeys(name.rsplit("/", 1)[1] for name in values))
    places = sorted(dict.fromkeys(name.rsplit("/", 1)[0] for name in values), key=lambda place: place.split("/")[1])
    cell = {name: shown(value.value) for name, value in values.items()}
    rows = [(place, *(cell.get(f"{place}/{column}", "") for column in columns)) for place in places]
    return [("metric", *columns), *rows] if rows else []


def shown(value: float | None) -> str:
    """Four significant digits; whole numbers as they are, nothing for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.4g}"
