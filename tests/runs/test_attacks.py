"""Attacks by files (scripts/attacks.py), each through one command; and the watch would see one that comes through."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT

SCRIPT = ROOT / "scripts" / "attacks.py"


def run(*words: str, code: str | None = None):
    start = [sys.executable, "-c", code] if code else [sys.executable, str(SCRIPT), *words]
    return subprocess.run(
        start, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT}/scripts"}
    )


@pytest.mark.parametrize("words", [["--short"], pytest.param([], marks=pytest.mark.slow)], ids=["short", "long"])
def test_no_attack_comes_through(words):
    result = run(*words)
    last = result.stdout.splitlines()[-1]
    assert result.returncode == 0 and last.endswith(": 0 came through"), result.stdout[-3000:] + result.stderr[-2000:]
    assert int(last.split()[0]) >= 50


def test_the_documents_count_the_attacks():
    code = "import attacks; a = attacks.ATTACKS.values(); print(len(a), sum(len(x.verbs) for x in a))"
    number, tries = run(code=code).stdout.split()
    text = " ".join((ROOT / "docs" / "runs.md").read_text().split())
    assert re.search(rf"{number} attacks, {tries} tries", text)


def test_the_watch_sees_what_it_should(tmp_path):
    code = f"""
import json, os, subprocess, sys
import attacks
sys.addaudithook(attacks.watch)
os.chdir({str(tmp_path)!r})
os.makedirs("outputs"); os.makedirs("outside"); open("outside/secret", "w").write("x")
seen = []
def tried(act):
    with attacks.watching(attacks.Path("outputs")):
        try:
            act()
        except Exception:
            pass
    seen.append(len(attacks.NOTED))
tried(lambda: open("outputs/fine", "w"))
tried(lambda: open("outside/secret"))
tried(lambda: open("evil", "w"))
tried(lambda: os.system("true"))
tried(lambda: subprocess.run(["true"]))
tried(lambda: os.mkdir("made"))
tried(lambda: os.symlink("/etc/passwd", "link"))
tried(lambda: os.rename("evil", "evil2"))
tried(lambda: __import__("socket").create_connection(("127.0.0.1", 9), 1))
tried(lambda: attacks.pickle.loads(attacks.pickle.dumps(attacks.Payload())))
print(json.dumps([bool(n) for n in seen]))
"""
    assert json.loads(run(code=code).stdout) == [False] + [True] * 9
