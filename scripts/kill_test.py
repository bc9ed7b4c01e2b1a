"""Kills a training again and again at random moments, and compares the finished run with one that was left alone.

    python scripts/kill_test.py                                        20 SIGKILLs; pcd, nce, jem; 1 and 2 processes
    python scripts/kill_test.py --objectives pcd --processes 1 --kills 5

Exit status 1 if any tensor, counter or logged number differs in a single bit. Runs on the processor, in a temporary
folder.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import torch

WORDS = (
    "dataset.steps_per_epoch=10", "dataset.batch_size=16", "model.hidden=[32]", "sampler.n_steps=5", "buffer.size=256",
    "trainer.enable_progress_bar=false", "callbacks.pictures=null",
)  # fmt: skip
COMPARED = (
    "state_dict",
    "optimizer_states",
    "lr_schedulers",
    "callbacks",
    "ranks",
    "global_step",
    "epoch",
    "time_share",
)
EPOCHS_PER_LIFE = 6  # more than a life of random length gets through on average, so that no run ends before its kills


def main() -> None:
    args = arguments()
    warm_up()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for objective in args.objectives:
            for processes in args.processes:
                where = Path(folder) / f"{objective}-{processes}"
                failed += not trial(where, objective, processes, args.kills, random.Random(args.seed))
    sys.exit(failed > 0)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objectives", nargs="+", default=["pcd", "nce", "jem"])
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    return parser.parse_args()


def warm_up() -> None:
    """Imports what a training imports, so that each life is a fork of this process that starts at once."""
    import ebm_cli.datasets  # noqa: F401

    torch.set_num_threads(1)


def trial(folder: Path, objective: str, processes: int, kills: int, rng: random.Random) -> bool:
    """One comparison; prints its line, and returns whether both runs are the same."""
    folder.mkdir(parents=True)
    words = [*WORDS, f"objective={objective}", f"trainer.max_epochs={EPOCHS_PER_LIFE * (kills + 1)}"]
    words += ["trainer=ddp", f"trainer.devices={processes}"] if processes > 1 else []
    words += ["trainer.accelerator=cpu"]
    since = time.monotonic()
    require(wait(start(folder, "alone", words, processes)), folder)
    span = 1.5 * (time.monotonic() - since) / (kills + 1) + 1.0
    for kill in range(kills):
        alive = start(folder, "killed", words, processes)
        time.sleep(rng.uniform(0.0, span))
        if [os.waitpid(pid, os.WNOHANG) for pid in alive] != [(0, 0)] * processes:
            sys.exit(f"the run ended before kill {kill + 1}; see {folder}/killed.log")
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
        wait(alive)
    require(wait(start(folder, "killed", words, processes)), folder)
    different = [*differences(content(folder, "alone"), content(folder, "killed"))]
    steps = content(folder, "killed")["global_step"]
    verdict = f"differs in {', '.join(different[:5])}" if different else "equal bit for bit"
    print(f"{objective}, {processes} process(es): {kills} kills in {steps} updates, {verdict}", flush=True)
    return not different


def start(folder: Path, stamp: str, words: list[str], processes: int) -> list[int]:
    """Forks one training process per rank; their output goes into a log file beside the runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [fork(folder, stamp, words, rank, processes, port) for rank in range(processes)]


def fork(folder: Path, stamp: str, words: list[str], rank: int, processes: int, port: int) -> int:
    """The id of a new process that is ``ebm-train WORDS``."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.chdir(folder)
        log = os.open(f"{stamp}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ |= {"EBM_RUN_STAMP": stamp, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0"} if processes > 1 else {}
        sys.argv = ["ebm-train", *words]
        from ebm_cli.train import main as train

        train()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(status)


def wait(pids: list[int]) -> list[int]:
    """Exit statuses."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def require(statuses: list[int], folder: Path) -> None:
    if any(statuses):
        logs = "\n".join(log.read_text()[-2000:] for log in folder.glob("*.log"))
        sys.exit(f"training failed with {statuses}:\n{logs}")


def content(folder: Path, stamp: str) -> dict:
    """What a finished run has come to: its last checkpoint, and its history without the clock's readings."""
    from ebm_cli.runs.history import read_rows

    (run,) = folder.glob(f"outputs/runs/*/{stamp}")
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    rows = [{k: v for k, v in row.items() if k != "steps_per_second"} for row in read_rows(run / "metrics.csv")]
    return {key: checkpoint[key] for key in COMPARED} | {"history": rows}


def differences(a, b, path: str = ""):
    """Names of the places where two nested values differ."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.dtype != b.dtype or not torch.equal(a, b):
            yield path
    elif isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        for key in a:
            yield from differences(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            yield from differences(left, right, f"{path}[{i}]")
    elif a != b:
        yield path


if __name__ == "__main__":
    main()
