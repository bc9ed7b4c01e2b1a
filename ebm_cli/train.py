"""ebm-train: config -> data, module, trainer -> a run directory."""

from __future__ import annotations

from ebm_cli.config.check import refuse_storage
from ebm_cli.config.launch import inherit, launch, values_in
from ebm_cli.config.schema import TrainConfig

GROUPS = [
    "model", "objective", "sampler", "buffer", "recipe", "dataset", "optimizer", "schedule", "trainer", "logger",
]  # fmt: skip


def main() -> None:
    """Entry point of the `ebm-train` command; `run=PATH` resumes a run in its directory, by its config."""
    launch("ebm-train", train, TrainConfig, choose)


def choose(arguments: list[str]) -> tuple[str, dict]:
    """A new run composes train.yaml; one that is resumed inherits its config and stays in its directory."""
    refuse_storage(arguments)
    if values_in(arguments).get("run", "null") == "null":
        return "train", {}
    kept = inherit(arguments, GROUPS, None, without=())
    return "resume", kept | {"hydra": {"run": {"dir": kept["run"]}}}


def train(cfg) -> float | None:
    """Trains what the config says in the current run directory, going on from its last checkpoint if it has one.

    Returns:
        the lowest validation value, which sweepers minimize; None if the objective has none.
    """
    from pathlib import Path

    import pytorch_lightning as pl
    from hydra.core.hydra_config import HydraConfig

    from ebm_cli.config import build, plain
    from ebm_cli.models.assemble import facts_of
    from ebm_cli.tables import sweeps
    from ebm_cli.training.module import EnergyModule
    from ebm_cli.training.report import report
    from ebm_cli.training.trainer import fit, make_trainer, prepare, warn_of_long_steps, write_config

    directory = Path(HydraConfig.get().runtime.output_dir)
    if HydraConfig.get().mode.name == "MULTIRUN" and sweeps.is_finished(directory, write_config(cfg)):
        print(f"finished before: {directory}")
        return sweeps.lowest(directory)
    pl.seed_everything(cfg.seed, verbose=False)
    data = build(cfg.dataset, "dataset", seed=cfg.seed)
    module = EnergyModule(plain(cfg), facts_of(data))
    trainer = make_trainer(cfg, directory)
    if trainer.is_global_zero:
        warn_of_long_steps(module.config, data)
        prepare(directory, cfg)
    fit(trainer, module, data, directory)
    report(trainer, module, data, directory)
    return sweeps.lowest(directory)
