"""ebm-train: config -> data, module, trainer -> a run directory."""

from __future__ import annotations

from ebm_cli.config import ConfigError
from ebm_cli.config.check import refuse_storage
from ebm_cli.config.launch import TEACHING, is_place, launch, values_in
from ebm_cli.config.schema import TrainConfig
from ebm_cli.runs.find import folder_of, inherit, named_run

GROUPS = [
    "model", "objective", "sampler", "buffer", "recipe", "dataset", "optimizer", "schedule", "trainer", "logger",
]  # fmt: skip


def main() -> None:
    """Entry point of the `ebm-train` command; `run=PATH` resumes a run in its directory, by its config."""
    launch("ebm-train", train, TrainConfig, choose, choose_for_data)


def choose_for_data(arguments: list[str]) -> list[str]:
    """The arguments with what suits the data of a file or folder, where the command line does not choose it itself."""
    given = values_in(arguments)
    data = given.get("dataset", "")
    own = data in ("npz", "folder") or (data and is_place(data))
    if TEACHING & set(arguments) or "run" in given or not own:
        return arguments  # without importing what reads data
    from ebm_cli.datasets.choice import choose_options

    return choose_options(arguments)


def choose(arguments: list[str]) -> tuple[str, dict]:
    """A new run composes train.yaml; one that is resumed inherits its config and stays in its directory."""
    refuse_storage(arguments)
    run = named_run(arguments)
    if run is None:
        return "train", {}
    folder = folder_of(run)
    if folder is None:
        raise ConfigError(f"run={run}: a checkpoint alone cannot be trained on; name the folder of its run")
    kept = inherit(arguments, GROUPS, folder, without=())
    return "resume", kept | {"hydra": {"run": {"dir": str(folder)}}}


def train(cfg) -> float | None:
    """Trains what the config says in the current run directory, going on from its last checkpoint if it has one.

    Returns:
        the lowest validation value, which sweepers minimize; None if the objective has none.
    """
    from contextlib import nullcontext
    from pathlib import Path

    import pytorch_lightning as pl
    from hydra.core.hydra_config import HydraConfig

    from ebm_cli.config import build, plain
    from ebm_cli.models.assemble import facts_of
    from ebm_cli.runs.hold import hold
    from ebm_cli.tables import sweeps
    from ebm_cli.training.module import EnergyModule
    from ebm_cli.training.report import report
    from ebm_cli.training.trainer import (
        find_start,
        fit,
        make_trainer,
        prepare,
        settle_paths,
        warn_of_long_steps,
        write_config,
    )  # fmt: skip

    directory = Path(HydraConfig.get().runtime.output_dir)
    settle_paths(cfg)
    if HydraConfig.get().mode.name == "MULTIRUN" and sweeps.is_finished(directory, write_config(cfg)):
        print(f"finished before: {directory}")
        return sweeps.lowest(directory)
    pl.seed_everything(cfg.seed, verbose=False)
    data = build(cfg.dataset, "dataset", seed=cfg.seed)
    if (found := getattr(data, "found", None)) is not None:
        print(f"data: {data.name}, {found.describe()}")
    module = EnergyModule(plain(cfg) | {"run": None}, facts_of(data))
    trainer = make_trainer(cfg, directory)
    with hold(directory) if trainer.is_global_zero else nullcontext():
        start = find_start(module, directory, trainer.max_epochs)
        if trainer.is_global_zero:
            warn_of_long_steps(module.config, data)
            prepare(directory, cfg)
        fit(trainer, module, data, directory, start)
        report(trainer, module, data, directory)
    return sweeps.lowest(directory)
