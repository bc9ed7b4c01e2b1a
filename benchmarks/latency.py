"""From the command to the first update: `python -m benchmarks.latency`, processor seconds of `ebm-train` by part."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time

PARTS = {
    "torch": ["torch"],
    "Lightning, and what it imports (torchmetrics, torchvision, scipy)": ["pytorch_lightning"],
    "the package": [
        "ebm_cli.models",
        "ebm_cli.datasets",
        "ebm_cli.objectives",
        "ebm_cli.samplers",
        "ebm_cli.training.trainer",
    ],
}


def main() -> None:
    """Imports part by part, then a run of one update; the rest of that run is composing, checking and building."""
    print("| part | processor seconds |\n|---|---|")
    row("Python and its site", time.process_time())
    for name, modules in PARTS.items():
        since = time.process_time()
        for module in modules:
            importlib.import_module(module)
        row(name, time.process_time() - since)
    from ebm_cli import train
    from ebm_cli.training import module

    since, first = time.process_time(), []
    step = module.EnergyModule.training_step

    def marked(self, batch, batch_idx):
        first.append(time.process_time() - since)
        return step(self, batch, batch_idx)

    module.EnergyModule.training_step = marked
    os.chdir(tempfile.mkdtemp())
    sys.argv = ["ebm-train", "trainer.max_epochs=1", "dataset.steps_per_epoch=1", "sampler.n_steps=1"]
    train.main()
    row("config, data, network, trainer, up to the first update", first[0])


def row(name: str, spent: float) -> None:
    print(f"| {name} | {spent:.2f} |", flush=True)


if __name__ == "__main__":
    main()
