"""What `ebm-train` adds to a bare loop of the same maths: `python -m benchmarks.overhead`.

The same objective, chains, batches, clipping, fused Adam and weight average run under Lightning with all callbacks of a
run, and in a plain loop. Processor time per update of the quickest stretch of each: what is added is the same
whatever the network, and other work on the machine only ever adds to it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore

from ebm_cli import fitting
from ebm_cli.config import SCHEMAS, build, plain
from ebm_cli.module import EnergyModule, facts_of

RUNS = {
    "MLP 2-16-1, nce": ["dataset=two_moons", "objective=nce", "model.hidden=[16]", "dataset.batch_size=32"],
    "MLP of the digits, pcd, K=20": ["sampler.n_steps=20"],
    "RBM 64-16, pcd, K=1": ["experiment=digits_rbm", "trainer.log_every_n_steps=50"],
    "tutorial CNN on 8x8, pcd, K=20": ["model=convnet", "sampler.n_steps=20", "dataset.batch_size=64"],
}


class Clock(pl.Callback):
    """Processor time per update of every epoch, without what happens at its end."""

    def __init__(self):
        self.per_update: list[float] = []

    def on_train_epoch_start(self, trainer, module) -> None:
        self.since, self.at = time.process_time(), trainer.global_step

    def on_train_epoch_end(self, trainer, module) -> None:
        self.per_update.append((time.process_time() - self.since) / (trainer.global_step - self.at))


def per_update(words: list[str], stretches: int = 6, updates: int = 100) -> tuple[float, float]:
    """Seconds per update of `ebm-train WORDS`, and of the bare loop, each in its quickest stretch."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*words, f"dataset.steps_per_epoch={updates}", f"trainer.max_epochs={stretches}"]
        cfg = config([*words, "name=overhead", f"logger.history.directory={folder}"])
        pl.seed_everything(0, verbose=False)
        data = build(cfg.dataset, "dataset", seed=0)
        module, clock = EnergyModule(plain(cfg), facts_of(data)), Clock()
        trainer = fitting.make_trainer(cfg, Path(folder))
        trainer.callbacks.insert(0, clock)
        fitting.callbacks.drop_idle_hooks([clock])
        (Path(folder) / "checkpoints").mkdir()
        trainer.fit(module, data)
    return min(clock.per_update), min(bare(module, data, stretches))


def config(words: list[str]):
    """The config that `ebm-train` would have with these words."""
    for name, node in SCHEMAS.items():
        ConfigStore.instance().store(name=name, node=node)
    with initialize_config_module("ebm_cli.conf", version_base="1.3"):
        return compose("train", overrides=[*words, "trainer.enable_progress_bar=false"])


def bare(module: EnergyModule, data, stretches: int) -> list[float]:
    """Seconds per update of a plain loop of the same maths."""
    weights, loader = list(module.parameters()), data.train_dataloader()
    averaged, current = [w.detach().clone() for w in weights], [w.detach() for w in weights]
    bound = module.config["trainer"]["gradient_clip_val"]
    optimizer = build(module.config["optimizer"], "optimizer", params=weights)
    optimizer.param_groups[0].update(fused=True)
    spent = []
    for stretch in range(stretches):
        loader.sampler.set_epoch(stretch)
        since = time.process_time()
        for index in loader.sampler:
            batch = loader.dataset[index]
            batch = batch._replace(x=data.augmented(batch.x))
            loss = module.objective(module.energy, batch, module.chains).loss
            optimizer.zero_grad()
            loss.backward()
            if bound is not None:
                torch.nn.utils.clip_grad_norm_(weights, bound)
            optimizer.step()
            torch._foreach_lerp_(averaged, current, 1e-3)
        spent.append((time.process_time() - since) / len(loader.sampler))
    return spent


def main(short: bool) -> None:
    torch.set_num_threads(1)
    print("| run | ms per update under ebm-train / bare | added |\n|---|---|---|")
    for name, words in RUNS.items():
        under, without = per_update(words, *((2, 3) if short else ()))
        share = f"{1e3 * (under - without):.2f} ms, {100 * (under / without - 1):.1f} %"
        print(f"| {name} | {1e3 * under:.2f} / {1e3 * without:.2f} | {share} |", flush=True)


if __name__ == "__main__":
    main("--short" in sys.argv)
