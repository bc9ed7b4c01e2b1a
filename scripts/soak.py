"""A soak: a bench that is used for long neither fills the memory nor the disk, nor keeps files open.

    python scripts/soak.py               20 minutes: trains, samples and evaluates in one process, again and again
    python scripts/soak.py --minutes 1
    python scripts/soak.py --samples 100000    the peak memory of drawing that many digits at once

Between rounds it reads the process's memory, its open files, and the files of the run; after a tenth of the time for
warming up, none may grow by more than the bounds printed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import io
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

SMALL = (
    "trainer.enable_progress_bar=false", "trainer.accelerator=cpu", "dataset.steps_per_epoch=20", "buffer.size=512",
    "sampler.n_steps=5", "name=soak", "sample_steps=20",
)  # fmt: skip
MEMORY, FILES, OPEN = 40, 2, 2  # MB, files in the run's folder, open files: what may be added after the warm-up


def call(module: str, *words: str) -> None:
    """A command in this process."""
    argv, sys.argv = sys.argv, [module, *words]
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            importlib.import_module(f"ebm_cli.{module}").main()
    except SystemExit as stop:
        if stop.code:
            raise RuntimeError(f"{module} {words}: {err.getvalue()[-500:]}") from stop
    finally:
        sys.argv = argv


def measure(run: Path) -> dict[str, float]:
    """Resident memory in MB, open files, files in the run's folder."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory": pages * resource.getpagesize() / 2**20,
        "open": len(os.listdir("/proc/self/fd")),
        "files": sum(
            1
            for path in run.rglob("*")
            if path.is_file() and path.parent.name != "samples" and "config." not in path.name
        ),
    }


def soak(minutes: float) -> int:
    """Rounds of the three commands on one run that goes on; 0 if nothing grew."""
    os.environ["EBM_RUN_STAMP"] = "a"
    call("train", *SMALL, "trainer.max_epochs=2")
    run, rounds, rows = Path("outputs/runs/soak/a"), 0, []
    since = time.monotonic()
    while time.monotonic() - since < 60 * minutes:
        rounds += 1
        call("train", f"run={run}", f"trainer.max_epochs={2 + 2 * rounds}")
        call("sample", f"run={run}", "num_samples=64")
        call("evaluate", f"run={run}", "metric=[fd_pixel]", "metric.fd_pixel.n=200")
        rows.append(measure(run))
        if rounds % 10 == 1:
            print(f"round {rounds}: " + ", ".join(f"{k} {v:.0f}" for k, v in rows[-1].items()), flush=True)
    first, last = rows[max(1, len(rows) // 10)], rows[-1]
    grown = {key: last[key] - first[key] for key in last}
    print(f"{rounds} rounds in {minutes:g} minutes: " + ", ".join(f"{k} +{v:.1f}" for k, v in grown.items()))
    return int(grown["memory"] > MEMORY or grown["open"] > OPEN or grown["files"] > FILES)


def many(number: int) -> int:
    """The peak of the memory while one command draws ``number`` samples."""
    call("train", *SMALL, "trainer.max_epochs=2")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    since = time.monotonic()
    call("sample", "run=latest", f"num_samples={number}", "sampler.n_steps=5")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds = time.monotonic() - since
    print(f"{number} samples in {seconds:.0f} s: peak {peak:.0f} MB, {peak - before:.0f} MB more than before")
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--samples", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        failed = many(options.samples) if options.samples else soak(options.minutes)
        os.chdir("/")
    sys.exit(failed)


if __name__ == "__main__":
    main()
