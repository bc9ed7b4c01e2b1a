"""ebm-train: config -> data, module, trainer -> a run directory."""

from __future__ import annotations

import os
import sys

from ebm_cli.config import ConfigError, TrainConfig, inherit, launch, stop

GROUPS = ["model", "objective", "sampler", "buffer", "dataset", "optimizer", "trainer", "logger"]


def main() -> None:
    """Entry point of the `ebm-train` command; `run=PATH` goes on with a run, in its directory, by its config."""
    goes_on = any(word.startswith("run=") and word != "run=null" for word in sys.argv[1:])
    if goes_on:
        try:
            os.environ["EBM_RUN_DIR"] = str(inherit(GROUPS, None, without=()))
        except ConfigError as error:
            stop("ebm-train", error)
    launch("ebm-train", "resume" if goes_on else "train", train, TrainConfig)


def train(cfg) -> None:
    """Trains what the config says in the current run directory, going on from its last checkpoint if it has one."""
    from pathlib import Path

    import pytorch_lightning as pl
    from hydra.core.hydra_config import HydraConfig

    from ebm_cli import fitting
    from ebm_cli.config import build, plain
    from ebm_cli.module import EnergyModule, facts_of

    directory = Path(HydraConfig.get().runtime.output_dir)
    pl.seed_everything(cfg.seed, verbose=False)
    data = build(cfg.dataset, "dataset", seed=cfg.seed)
    module = EnergyModule(plain(cfg), facts_of(data))
    trainer = fitting.make_trainer(cfg, directory)
    if trainer.is_global_zero:
        fitting.warn_of_long_steps(module.config, data)
        fitting.prepare(directory, cfg)
    fitting.fit(trainer, module, data, directory)
    fitting.report(trainer, module, data, directory)
