"""What `ebm-train` adds to the plain loop of training/reference.py: `python -m benchmarks.overhead`.

The same objective, chains, batches, clipping, fused Adam and weight average run under Lightning with all callbacks of a
run, and in the plain loop: an epoch of the one, then as many updates of the other, by turns, so that other work on the
machine meets both. Processor time per update without validation and the ends of epochs; medians over the pairs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ebm_cli.config import build, plain
from ebm_cli.config.options import conf_dir
from ebm_cli.config.schema import SCHEMAS
from ebm_cli.models.assemble import facts_of
from ebm_cli.training.module import EnergyModule
from ebm_cli.training.optim import build_optimizer
from ebm_cli.training.reference import train
from ebm_cli.training.trainer import make_trainer

RUNS = {
    "MLP 2-16-1, nce": ["dataset=two_moons", "objective=nce", "model.hidden=[16]", "dataset.batch_size=32"],
    "MLP of the digits, pcd, K=20": ["sampler.n_steps=20"],
    "RBM 64-16, pcd, K=1": ["experiment=digits_rbm", "trainer.log_every_n_steps=50"],
    "tutorial CNN on 8x8, pcd, K=20": ["model=convnet", "sampler.n_steps=20", "dataset.batch_size=64"],
}


class Pairs(pl.Callback):
    """Seconds per update of every epoch, without its end, and of as many updates of the bare loop behind it."""

    def __init__(self):
        self.pairs: list[tuple[float, float]] = []
        self.bare = None

    def on_train_epoch_start(self, trainer, module) -> None:
        self.bare = self.bare or BareLoop(module, trainer.datamodule)
        self.since, self.at = time.process_time(), trainer.global_step

    def on_train_epoch_end(self, trainer, module) -> None:
        under = (time.process_time() - self.since) / (trainer.global_step - self.at)
        self.pairs.append((under, self.bare.run(trainer.current_epoch)))


def per_update(words: list[str], stretches: int = 10, updates: int = 100) -> list[tuple[float, float]]:
    """Seconds per update of `ebm-train WORDS`, and of the bare loop, in pairs; the first one warms up."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*words, f"dataset.steps_per_epoch={updates}", f"trainer.max_epochs={stretches + 1}"]
        cfg = config([*words, "name=overhead"])
        pl.seed_everything(0, verbose=False)
        data = build(cfg.dataset, "dataset", seed=0)
        module, clock = EnergyModule(plain(cfg), facts_of(data)), Pairs()
        trainer = make_trainer(cfg, Path(folder))
        trainer.callbacks.insert(0, clock)
        for place in ("checkpoints", "samples"):
            (Path(folder) / place).mkdir()
        trainer.fit(module, data)
    return clock.pairs[1:]


def config(words: list[str]):
    """The config that `ebm-train` would have with these words."""
    for name, node in SCHEMAS.items():
        ConfigStore.instance().store(name=name, node=node)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=[*words, "trainer.enable_progress_bar=false", "trainer.limit_val_batches=0"])


class BareLoop:
    """``training/reference.py`` on the same network, chains and data."""

    def __init__(self, module: EnergyModule, data):
        self.module, self.data, self.loader = module, data, data.train_dataloader()
        self.optimizer = build_optimizer(module.config["optimizer"], module.parameters(), None)
        self.average = AveragedModel(module.energy, multi_avg_fn=get_ema_multi_avg_fn(0.999))

    def run(self, epoch: int) -> float:
        """Seconds per update of an epoch."""
        module = self.module
        self.loader.sampler.set_epoch(epoch)
        batches = (batch._replace(x=self.data.augmented(batch.x)) for batch in self.loader)
        since = time.process_time()
        clip = module.config["trainer"]["gradient_clip_val"]
        train(
            module.energy, module.objective, module.negatives, batches, self.optimizer, clip=clip, average=self.average
        )
        return (time.process_time() - since) / len(self.loader)


def main(short: bool) -> None:
    torch.set_num_threads(1)
    print("| run | ms per update under ebm-train / bare | added: median [range] | share |\n|---|---|---|---|")
    for name, words in RUNS.items():
        pairs = per_update(words, *((2, 3) if short else ()))
        under, without = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
        added = sorted(1e3 * (a - b) for a, b in pairs)
        share = 100 * statistics.median(a / b - 1 for a, b in pairs)
        spread = f"{statistics.median(added):.2f} ms [{added[0]:.2f}, {added[-1]:.2f}]"
        print(f"| {name} | {under:.2f} / {without:.2f} | {spread} | {share:.1f} % |", flush=True)


if __name__ == "__main__":
    main("--short" in sys.argv)
