"""Tables: measured beside published, in three formats, filled step by step, and as the README has them."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from conftest import ROOT, SMALL

from ebm_cli.config import build, option_node, options
from ebm_cli.tables import Table, fill, render
from ebm_cli.tables.results import Results

SEEDS = [0, 1, 2]


def small(**changes):
    keywords = {
        "title": "A table",
        "note": "One note.",
        "columns": {
            "fd": {"metric": "fd_classifier", "title": "FD"},
            "acc": {"metric": "a", "title": "%", "scale": 100},
        },
        "rows": {
            "ours": {"title": "ours", "train": ["dataset=digits"], "published": {"acc": [92.9, "who"]}},
            "theirs": {"title": "theirs", "published": {"acc": [40.0, "who", "unverified"]}},
        },
        "evaluate": ["metric=[fd_classifier]"],
        "sources": {"who": "Who 2020"},
    }
    return Table(**keywords | changes)


@pytest.fixture
def results(tmp_path):
    table, results = small(), Results(tmp_path / "small.json")
    for seed, fd in zip(SEEDS, (1.0, 2.0, 3.0), strict=True):
        metrics = {
            "fd_classifier": {"value": fd, "stderr": None, "n": 5, "protocol": {}},
            "a": {"value": 0.5, "stderr": 0.1, "n": 5},
        }
        results.put("ours", table.rows["ours"], seed, metrics, {}, {"commit": "c"})
    return results


# What stands in a table ----------------------------------------------------------------------------------------------


def test_ours_is_mean_and_deviation_over_seeds_beside_the_published_value(results):
    head, ours, theirs = render.cells(small(), results, SEEDS)
    assert head == ("model", "FD", "%", "%, published")
    assert ours == ("ours", "2.00 ± 1.00", "50.00 ± 0.00", "92.9 [1]")
    assert theirs == ("theirs", "—", "—", "40 [1] unverified")
    assert render.cells(small(), results, [2])[1][1] == "3.00"
    text = render.as_markdown(small(), results, SEEDS)
    assert "**A table**" in text and "over 3 seeds" in text and "[1] Who 2020" in text and "One note." in text


def test_csv_has_full_numbers_and_latex_the_same_cells(results):
    rows = list(csv.DictReader(io.StringIO(render.as_csv(small(), results, SEEDS))))
    assert rows[0] == {
        "row": "ours", "metric": "fd_classifier", "mean": "2.0", "std": "1.0", "seeds": "3", "published": "",
        "unverified": "", "source": "",
    }  # fmt: skip
    assert float(rows[1]["published"]) == pytest.approx(0.929) and rows[3]["unverified"] == "True"
    text = render.as_latex(small(), results, SEEDS)
    assert r"ours & 2.00 $\pm$ 1.00 & 50.00 $\pm$ 0.00 & 92.9 [1] \\" in text and r"\%" in text and "---" in text


def test_numbers_of_other_commands_do_not_count(results):
    changed = small(evaluate=["metric=[ood]"])
    assert render.cells(changed, results, SEEDS)[1][1] == "—"
    again = Results(results.file)
    assert render.cells(small(), again, SEEDS) == render.cells(small(), results, SEEDS)
    results.file.write_text("{")
    with pytest.raises(ValueError, match="small.json: not a file of results"):
        Results(results.file)


@pytest.mark.parametrize(
    "rows, message",
    [
        ({"a": {"titel": "x"}}, "rows.a.titel: unknown key"),
        ({"a": {"title": "x", "train": [], "baseline": []}}, "not both"),
        ({"a": {"title": "x", "published": {"fid": [1, "who"]}}}, "no such column; choose from fd, acc"),
        ({"a": {"title": "x", "published": {"fd": [1, "me"]}}}, "no source 'me'"),
        ({"a": {"title": "x", "published": {"fd": [1, "who", "maybe"]}}}, "unverified"),
        ({"a": {}}, "title"),
    ],
)
def test_a_wrong_table_is_one_line(rows, message):
    with pytest.raises(ValueError, match=message):
        small(rows=rows)


# Filling -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Commands that write what the real ones would, and are remembered."""
    monkeypatch.chdir(tmp_path)
    ran = []

    def run(arguments, settings):
        overrides = dict(w.split("=", 1) for w in arguments[1:] if "=" in w)
        ran.append((Path(arguments[0]).name, overrides, settings))
        if overrides.get("dataset") == "broken":
            raise fill.CommandFailed("dataset=broken: no such option")
        kind = {"ebm-train": "runs", "ebm-eval": "evals"}[Path(arguments[0]).name]
        name = overrides.get("name") or Path(overrides["run"]).parent.name
        folder = Path("outputs") / kind / name / settings["EBM_RUN_STAMP"]
        folder.mkdir(parents=True, exist_ok=True)
        metrics = {"fd_classifier": {"value": float(overrides["seed"]), "stderr": None, "n": 3, "protocol": {}}}
        content = {"commit": "c", "versions": {}, "metrics": metrics, "skipped": {}}
        (folder / "metrics.json").write_text(json.dumps(content))

    monkeypatch.setattr(fill, "run", run)
    return ran


def test_what_is_missing_is_run_once_and_the_rest_goes_on_after_a_failure(commands, tmp_path, capfd):
    rows = {
        "bad": {"title": "bad", "train": ["dataset=broken"]},
        **{"ours": {"title": "ours", "train": ["dataset=digits"]}},
    }
    table, results = small(rows=rows), Results(tmp_path / "small.json")
    results.put("ours", table.rows["ours"], 0, {}, {}, {})
    failures = fill.fill(table, results, [0, 1], None)
    assert failures == [f"bad, seed {seed}: dataset=broken: no such option" for seed in (0, 1)]
    train, evaluate = commands[-2:]
    assert train[0] == "ebm-train" and train[1]["seed"] == "1" and train[1]["name"] == "table-ours"
    assert evaluate[1]["metric"] == "[fd_classifier]" and evaluate[2] == train[2]
    assert Results(results.file).entry("ours", table.rows["ours"], 1)["metrics"]["fd_classifier"]["value"] == 1
    before = len(commands)
    assert fill.fill(table, results, [0, 1], ["ours"]) == [] and len(commands) == before


def test_a_finished_training_is_not_repeated_when_only_the_evaluation_is_missing(commands, tmp_path):
    rows = {"ours": {"title": "ours", "train": ["dataset=digits"]}}
    fill.fill(small(rows=rows), Results(tmp_path / "small.json"), [0], None)
    fill.fill(small(rows=rows, evaluate=["metric=[ood]"]), Results(tmp_path / "small.json"), [0], None)
    assert [verb for verb, *_ in commands] == ["ebm-train", "ebm-eval", "ebm-eval"]


def test_two_processes_share_a_table_out_and_lose_nothing_of_each_other(commands, tmp_path):
    table = small(rows={"ours": {"title": "ours", "train": ["dataset=digits"]}})
    one, other = Results(tmp_path / "small.json"), Results(tmp_path / "small.json")
    with one.claim("ours", table.rows["ours"], 0) as mine:
        assert mine and fill.fill(table, other, [0, 1], None) == []  # takes what is free
        assert [overrides["seed"] for _, overrides, _ in commands] == ["1", "1"]
        one.put("ours", table.rows["ours"], 0, {}, {}, {})
    assert set(Results(one.file).rows["ours"]) == {"0", "1"}
    with other.claim("ours", table.rows["ours"], 0) as mine:
        assert not mine  # it is there


def test_the_last_line_of_a_failed_command_is_the_reason():
    with pytest.raises(fill.CommandFailed, match="^last$"):
        fill.run(["bash", "-c", "echo first >&2; echo last >&2; exit 3"], {})


# The tables that ship ------------------------------------------------------------------------------------------------


def shipped(name):
    table = build(option_node("table", name), "table")
    return table, table.results(ROOT / "outputs" / "results" / f"{name}.json")


@pytest.mark.parametrize("name", options("table"))
def test_every_table_builds_and_quotes_every_source_that_it_names(name):
    table, results = shipped(name)
    used = {entry.source for row in table.rows.values() for entry in row.published.values()}
    assert used == set(table.sources) and render.cells(table, results, SEEDS)
    for row in table.rows.values():
        for word in (*(row.train or []), *(row.evaluate or [])):
            assert "=" in word
        group, _, option = next((w for w in row.train or [] if w.startswith("dataset=")), "dataset=digits").partition(
            "="
        )
        assert option in options(group)


@pytest.mark.parametrize("document", ["README.md", "docs/tables.md", "docs/results.md"])
def test_tables_in_documents_are_those_of_the_results(document):
    file = ROOT / document
    for name, content in render.blocks(file.read_text() if file.is_file() else "").items():
        assert content == written(name), f"{document}: ebm-table table={name} into={document}"


def written(place: str) -> str:
    """The table that belongs to a place in a document."""
    name, *words = place.split()
    asked = dict(word.split("=") for word in words)
    columns = asked.get("columns", "").strip("[]").split(",") if "columns" in asked else None
    kind = asked.get("format", "markdown")
    table, results = shipped(name)
    assert render.place(name, kind, columns) == place
    return render.FORMATS[kind](table.only(columns) if columns else table, results, SEEDS)


def test_a_grid_has_what_down_and_how_across(command, tmp_path):
    status, out, error = command("ebm-table", "table=toys", "format=grid", "columns=[kl]")
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert status == 0 and len(lines) == 8, error  # head, rule, six toys
    head = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert head[:3] == ["KL", "EBM, noise contrastive", "EBM, persistent chains"] and len(head) == 11
    assert lines[2].startswith("| eight Gaussians ")
    status, _, error = command("ebm-table", "table=toys", "columns=[fid]")
    assert status == 1 and error.strip() == "ebm-table: columns=fid: no such column; choose from " + ", ".join(
        ("kl", "outside", "modes", "mmd", "stray", "found")
    )


def test_insertion_replaces_one_table_and_needs_its_place(tmp_path):
    file = tmp_path / "a.md"
    file.write_text("x\n<!-- table: digits -->\nold\n<!-- /table -->\ny\n<!-- table: toys -->\nkept\n<!-- /table -->\n")
    render.insert(file, "digits", "new")
    assert render.blocks(file.read_text()) == {"digits": "new", "toys": "kept"} and file.read_text().startswith("x\n")
    with pytest.raises(ValueError, match="no place"):
        render.insert(file, "drl", "new")


def test_the_command_prints_a_table_and_names_what_it_does_not_know(command, tmp_path):
    status, out, error = command("ebm-table", "table=drl")
    assert status == 0 and "9.58 [1]" in out, error
    status, _, error = command("ebm-table", "table=drl", "rows=[nothing]")
    assert status == 1 and "rows are cifar10_drl" in error
    status, _, error = command("ebm-table", "table=drl", "format=pdf")
    assert status == 1 and "markdown, grid, csv, latex" in error
    assert not list(tmp_path.iterdir())


# A folder's runs -----------------------------------------------------------------------------------------------------


def test_runs_are_listed_with_their_numbers_and_their_seeds_taken_together(command, tmp_path):
    status, out, _ = command("ebm-table", "table=runs")
    assert status == 0 and "No run in outputs/runs/*/* or outputs/sweeps/*/*" in out
    quick = (*SMALL, "callbacks.pictures.number=4", "sample_steps=5")
    assert command("ebm-train", "-m", *quick, "seed=0,5", stamp="s")[0] == 0
    assert command("ebm-train", *quick, "optimizer.lr=1e30", stamp="bad")[0] == 1
    runs = sorted(tmp_path.glob("outputs/sweeps/s/*-mlp-digits-pcd"))
    for stamp, seed, fid in (("a", 0, 9.0), ("b", 0, 3.0), ("c", 1, 5.0)):  # the newest of a run counts
        metrics = tmp_path / "outputs" / "evals" / "mlp-digits-pcd" / stamp / "metrics.json"
        metrics.parent.mkdir(parents=True)
        metrics.write_text(json.dumps({"run": str(runs[seed]), "metrics": {"fid": {"value": fid}}}))
        os.utime(metrics, (ord(stamp), ord(stamp)))
    status, out, _ = command("ebm-table", "table=runs", "format=csv")
    lines = {(line["row"], line["metric"]): line for line in csv.DictReader(io.StringIO(out))}
    row = " ".join(quick)
    gaps = [json.loads((run / "metrics.json").read_text())["metrics"]["energy/gap"]["value"] for run in runs]
    assert status == 0 and float(lines[row, "energy/gap"]["mean"]) == pytest.approx(sum(gaps) / 2)
    assert lines[row, "updates"]["mean"] == "10" and lines[row, "updates"]["seeds"] == "2"
    assert lines[row, "fid"]["mean"] == "4.0"
    assert lines[f"{row} optimizer.lr=1e30", "updates"]["seeds"] == "0"
    assert not any(metric == "density/kl" for _, metric in lines)
    status, out, _ = command("ebm-table", "table=runs", "columns=[fid]")
    assert "| optimizer.lr=1e30 |" in out and "| (no more)         | 4.00 ± 1.41 |" in out
    assert f"All with {row}." in out
    status, _, error = command("ebm-table", "table=runs", "run_missing=true")
    assert status == 1 and error.strip() == "ebm-table: run_missing=true: table=runs names nothing to run; leave it out"
