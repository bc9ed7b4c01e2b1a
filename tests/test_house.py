"""The rules of CONTRIBUTING.md that can be read off the code: who imports whom, and what nobody touches."""

from __future__ import annotations

import ast
import re

import pytest
from conftest import CONF, ROOT

ORDER = (
    "config", "utils", "energies", "models", "overrides", "samplers", "buffers", "objectives", "datasets", "runs",
    "tasks", "metrics", "training", "tables",
)  # fmt: skip
COMMANDS = {"train", "sample", "evaluate", "table"}
PACKAGE = ROOT / "ebm_cli"
FILES = sorted(PACKAGE.rglob("*.py"))
PRIVATE = r"trainer\._|_current_fx|_average_model|_latest_update|hydra\._internal|torch\._"


def imports(file) -> set[str]:
    """The rooms that a file takes anything from."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ebm_cli."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "ebm_cli":
            found |= {alias.name for alias in node.names}
    return found


def test_the_root_holds_the_four_commands_alone():
    assert {file.stem for file in PACKAGE.glob("*.py")} == COMMANDS | {"__init__"}
    assert {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file()} == {*ORDER, "baselines"}


@pytest.mark.parametrize("room", ORDER)
def test_a_room_imports_only_from_those_before_it(room):
    before = {*ORDER[: ORDER.index(room) + 1]}
    taken = {str(file.relative_to(PACKAGE)): imports(file) - before for file in (PACKAGE / room).rglob("*.py")}
    assert not {name: rooms for name, rooms in taken.items() if rooms}


def test_the_order_is_the_one_that_is_written_down():
    line = next(line for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if line.startswith("`config < "))
    assert tuple(line.split("`")[1].split(" < "))[: len(ORDER)] == ORDER


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_private_parts_of_libraries_are_touched_in_overrides_alone(file):
    if file.parent.name != "overrides":
        assert not re.findall(PRIVATE, file.read_text())
    if file.parent.name != "config":
        assert "sys.argv" not in file.read_text()


def test_every_group_of_options_is_read_by_a_command():
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    roots = "".join((CONF / f"{name}.yaml").read_text() for name in ("train", "sample", "eval", "table"))
    assert {group for group in groups if not re.search(rf"^  - {group}: ", roots, re.M)} == set()
