"""Overrides that nobody should give: every command answers with one line that names the key, never with a traceback."""

from __future__ import annotations

import random

import pytest
from conftest import SMALL
from omegaconf import OmegaConf

from ebm_cli.config import options
from ebm_cli.config.bounds import BOUNDS

VERBS = ("train", "sample", "eval", "table")
ODD = [
    "abc",
    "[1,2]",
    "{a:1}",
    "null",
    "nan",
    "inf",
    "-1",
    "0",
    "1e99",
    "''",
    "x" * 300,
    "тест",
    "a b",
    "$x",
    "true",
    "3.5",
]
BROKEN = ["[1,", "{a:", "a,b", "'x", "a=b=c", "١", "\\", "${nope}", "${oc.env:NOPE_X}", "${oc.decode:1}"]


@pytest.fixture
def bench(command, tmp_path, monkeypatch):
    """The four commands beside a small run; training stops once all is built."""
    status, _, err = command("ebm-train", *SMALL, "name=r", "sample_steps=2", "trainer.max_epochs=1", stamp="a")
    assert status == 0, err
    run = tmp_path / "outputs" / "runs" / "r" / "a"
    monkeypatch.setattr("ebm_cli.training.trainer.fit", lambda *args: None)
    monkeypatch.setattr("ebm_cli.training.report.report", lambda *args: None)
    words = {
        "train": SMALL,
        "sample": (f"run={run}", "num_samples=4"),
        "eval": (f"run={run}", "metric=[fd_pixel]", "metric.fd_pixel.n=64"),
        "table": ("table=runs",),
    }

    def call(verb: str, *more: str):
        keys = {word.split("=")[0] for word in more}
        return command(f"ebm-{verb}", *[w for w in words[verb] if w.split("=")[0] not in keys], *more)

    return call, OmegaConf.to_container(OmegaConf.load(run / "config.yaml"))


def leaves(node, path=""):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path, node


def overrides(config: dict, rng: random.Random):
    """(command, override, whether it must be refused) without end."""
    values = {path: value for path, value in leaves(config) if "_target_" not in path and path != "run"}
    read = {path: value for path, value in values.items() if not path.startswith("recipe")}
    numbers = [path for path, value in read.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    bounded = [p for p in numbers if p.split(".")[-1] in BOUNDS]
    switches = [path for path, value in read.items() if isinstance(value, bool)]
    inherited = ("model", "objective", "buffer", "optimizer", "schedule", "callbacks", "base", "tilted")
    while True:
        verb = rng.choice(("train", "train", "train", "sample", "eval"))
        reads = [p for p in numbers if verb == "train" or p.split(".")[0] in ("sampler", "dataset", "seed")]
        kind = rng.randrange(9)
        if kind == 0:
            yield verb, f"{rng.choice(reads)}={rng.choice(['abc', '[x]', '{a:1}', 'true', 'nan'])}", True
        elif kind == 1:
            path = rng.choice([p for p in bounded if p in reads])
            low, high, _ = BOUNDS[path.split(".")[-1]]
            yield verb, f"{path}={rng.choice([-3, -1]) if high > 1e9 else rng.choice([-1, 2])}", True
        elif kind == 2 and verb == "train":
            yield verb, f"{rng.choice(switches)}={rng.choice(['7', 'maybe', '[]'])}", True
        elif kind == 3:
            group = rng.choice(["model", "objective", "sampler", "dataset", "trainer", "task", "metric", "table"])
            yield rng.choice(VERBS), f"{group}={rng.choice(['nope', '', 'null', '3', '[a]', '../x'])}", None
        elif kind == 4:
            yield (
                rng.choice(VERBS),
                f"{rng.choice(['', '+', '++'])}{rng.choice(['nope', 'lr', 'x.y', 'sampler.nope'])}=1",
                None,
            )
        elif kind == 5:
            yield rng.choice(VERBS), f"{rng.choice(list(values))}={rng.choice(BROKEN)}", None
        elif kind == 6:
            yield rng.choice(VERBS), f"~{rng.choice([*values, *config, 'nope'])}", None
        elif kind == 7:
            yield rng.choice(VERBS), f"{rng.choice(list(values))}={rng.choice(ODD)}", None
        else:
            yield "train", f"{rng.choice(inherited)}={rng.choice(options('sampler'))}", None


def check(call, verb: str, override: str, refused: bool | None) -> str:
    """One call: refused in one line, or gone through where that is allowed."""
    status, out, err = call(verb, override)
    text = f"ebm-{verb} {override}: status {status}\n{err[-1500:]}"
    assert status in (0, 1), text
    assert "Traceback" not in err and "Errno" not in err, text
    if refused:
        assert status == 1, f"accepted: {text}"
    if status == 1:
        lines = [line for line in err.splitlines() if line.startswith(f"ebm-{verb}: ")]
        assert len(lines) == 1 and err.splitlines()[-1] == lines[0], text
        parts = override.lstrip("+~").split("=")[0].split(".")
        whole = override in lines[0] or ".".join(parts) in lines[0]
        named = whole or any(f"{part}:" in lines[0] or f"{part}=" in lines[0] for part in parts)
        assert named, f"the key is not named: {text}"
    return "refused" if status else "accepted"


@pytest.mark.parametrize("number", [25, pytest.param(400, marks=pytest.mark.slow)])
def test_no_override_makes_a_traceback_or_passes_as_nonsense(bench, number):
    call, config = bench
    stream, seen, wrong = overrides(config, random.Random(number)), {"refused": 0, "accepted": 0}, []
    for _ in range(number):
        try:
            seen[check(call, *next(stream))] += 1
        except AssertionError as error:
            wrong.append(str(error).split("\nassert")[0])
    print(f"{number} overrides: {seen}")
    assert not wrong, f"{len(wrong)} of {number}:\n" + "\n\n".join(wrong[:40])
