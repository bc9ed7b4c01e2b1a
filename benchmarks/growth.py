"""How cost grows: `python -m benchmarks.growth FILE.png [--short]` draws and prints it, one thread, processor time.

IGEBM's network a quarter as wide: a training iteration against the number of Langevin steps, the batch and the image
side; a draw and a write of 64 chains against the size of the buffer; an update of `ebm-train` in one process and two.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib
import torch

from benchmarks.cases import IGEBM, Size, buffer_turn, igebm_network, our_iteration
from benchmarks.pairs import seconds
from ebm_cli.samplers import Langevin

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import NullLocator  # noqa: E402

TOY = (
    "dataset=two_moons",
    "objective=pcd",
    "callbacks.pictures.every_n_epochs=10000",
    "trainer.enable_progress_bar=false",
)


def iteration(k: int = 20, batch: int = 8, side: int = 32) -> float:
    """Milliseconds of processor time of a training iteration."""
    network = igebm_network(Size(width=32, side=side))
    sampler = Langevin(n_steps=k, noise_first=True, boundary="clamp", **IGEBM)
    iterate = our_iteration(network, sampler, torch.rand(batch, 3, side, side), "float32")
    iterate()
    return 1e3 * min(seconds(iterate, 1) for _ in range(3))


def turn(entries: int) -> float:
    """Milliseconds of a draw and a write of 64 chains."""
    once = buffer_turn(entries)
    once()
    return 1e3 * min(seconds(once, 50) for _ in range(5))


def update(processes: int, short: bool) -> float:
    """Milliseconds of processor time of one update in rank 0 of `ebm-train`: the difference of two runs.

    The other ranks are that process's children and not waited for, so they are not in the sum.
    """
    spent, epochs = [], (1, 2) if short else (1, 11)
    for n in epochs:
        before = children()
        train("trainer=ddp", f"trainer.devices={processes}", "trainer.accelerator=cpu", f"trainer.max_epochs={n}")
        spent.append(children() - before)
    return 1e3 * (spent[1] - spent[0]) / (epochs[1] - epochs[0]) / 100


def train(*words: str) -> None:
    command = [str(Path(sys.executable).with_name("ebm-train")), *TOY, "dataset.steps_per_epoch=100"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [*command, *words],
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def children() -> float:
    """Processor seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(short: bool) -> dict[str, tuple[list, list[float]]]:
    """Milliseconds by what was varied."""
    ks, batches, sides = ([1, 2], [1, 2], [8, 16]) if short else ([5, 10, 20, 40], [1, 2, 4, 8, 16, 32], [16, 32, 64])
    sizes = [100, 1000] if short else [1000, 10_000, 100_000, 1_000_000]
    return {
        "Langevin steps K": (ks, [iteration(k=k) for k in ks]),
        "batch (K=20)": (batches, [iteration(batch=b) for b in batches]),
        "image side (K=20, B=8)": (sides, [iteration(side=s) for s in sides]),
        "buffer entries": (sizes, [turn(n) for n in sizes]),
        "processes (toy, rank 0)": ([1, 2], [update(n, short) for n in (1, 2)]),
    }


def draw(rows: dict[str, tuple[list, list[float]]], file: Path) -> None:
    """A panel for each, both axes logarithmic: a cost in proportion has the slope of the dotted line."""
    figure, panels = pyplot.subplots(1, len(rows), figsize=(3 * len(rows), 2.6), layout="constrained")
    for panel, (name, (xs, ys)) in zip(panels, rows.items(), strict=True):
        panel.loglog(xs, ys, "o-")
        panel.loglog(xs, [ys[0] * x / xs[0] for x in xs], ":", color="grey")
        panel.set(xlabel=name, ylim=(min(ys) / 2, max(ys) * 2))
        panel.xaxis.set_minor_locator(NullLocator())
        panel.set_xticks(xs, [f"{x:.0e}".replace("e+0", "e") if x >= 1000 else str(x) for x in xs])
    panels[0].set_ylabel("ms of processor time")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = measured("--short" in sys.argv)
    for name, (xs, ys) in rows.items():
        print(f"| {name} | " + " | ".join(f"{x:,}: {y:.3g} ms" for x, y in zip(xs, ys, strict=True)) + " |")
    draw(rows, Path(sys.argv[1]))
