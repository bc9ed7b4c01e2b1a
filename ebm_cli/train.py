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


def train(cfg) -> float | None:
    """Trains what the config says in the current run directory, going on from its last checkpoint if it has one."""
    import logging
    from pathlib import Path

    import pytorch_lightning as pl
    from hydra.core.hydra_config import HydraConfig

    from ebm_cli import run as runs
    from ebm_cli.config import build, plain
    from ebm_cli.module import EnergyModule, facts_of

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its tips and device lists
    directory = Path(HydraConfig.get().runtime.output_dir)
    config = plain(cfg)
    pl.seed_everything(cfg.seed, verbose=False)
    data = build(cfg.dataset, "dataset", seed=cfg.seed)
    warn_of_long_steps(config, data)
    module = EnergyModule(config, facts_of(data))
    trainer = make_trainer(cfg, directory)
    last = directory / "checkpoints" / "last.ckpt"
    if trainer.is_global_zero:
        prepare(directory, cfg)
    resume = last if last.is_file() else None
    fit(trainer, module, data, resume, directory)
    if trainer.is_global_zero:
        report(directory, module, data, trainer, runs)
    return None


def warn_of_long_steps(config: dict, data) -> None:
    """Warns where tied Langevin noise takes steps that the narrowest feature of a toy cannot bear."""
    import warnings

    density, sampler = getattr(data, "density", None), config["sampler"]
    step = sampler.get("step_size")
    if density is None or sampler.get("noise_std") is not None or not isinstance(step, float | int):
        return
    bound = 0.25 * density.sd_min**2
    if step > bound:
        warnings.warn(
            f"sampler.step_size={step:g} is above {bound:.3g}, a quarter of the squared width {density.sd_min:g} of "
            f"the narrowest feature of {data.name}: chains will miss it",
            stacklevel=2,
        )


def make_trainer(cfg, directory):
    """The Lightning trainer with this run's callbacks and loggers."""
    import pytorch_lightning as pl

    from ebm_cli import callbacks
    from ebm_cli.config import build, plain
    from ebm_cli.module import Budget

    options = plain(cfg.trainer)
    options.pop("_target_")
    budget = options.pop("max_time")
    hooks = [
        callbacks.Checkpoints(directory / "checkpoints"),
        callbacks.DivergenceGuard(cfg.guard.growth, cfg.guard.window, cfg.guard.nats),
        callbacks.Throughput(),
        callbacks.SampleGrid(directory / "samples", cfg.pictures.every_n_epochs, cfg.pictures.number),
    ]
    if budget:
        hooks.append(Budget(budget))
    if cfg.ema_decay is not None:
        hooks.append(pl.callbacks.EMAWeightAveraging(decay=cfg.ema_decay, use_buffers=False))
    loggers = [build(node, f"logger.{name}") for name, node in cfg.logger.items()]
    return pl.Trainer(
        **options, callbacks=hooks, logger=loggers, default_root_dir=directory, use_distributed_sampler=False
    )


def prepare(directory, cfg) -> None:
    """Lays out the run directory, and keeps the resolved config in it."""
    from omegaconf import OmegaConf

    from ebm_cli import run as runs

    for folder in ("checkpoints", "samples"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    kept, text = directory / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True)
    if kept.is_file() and kept.read_text() != text:  # another phase of the run: both configs stay
        kept.rename(directory / f"config.{len(list(directory.glob('config.*.yaml'))) + 1}.yaml")
    runs.write_text(kept, text)
    runs.point_latest(directory)


def fit(trainer, module, data, resume, directory) -> None:
    """Runs the training loop; a divergence names the last good checkpoint and what to try next."""
    from ebm_cli.samplers import DivergenceError

    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except DivergenceError as error:
        raise DivergenceError(f"{error}. {advice(module.config, directory)}") from error


def advice(config: dict, directory) -> str:
    """What to do after a divergence: the checkpoint to go on from, and gentler settings, as words to paste."""
    last = directory / "checkpoints" / "last.ckpt"
    tries = [f"optimizer.lr={config['optimizer']['lr'] / 3:.1g}"]
    if config["trainer"]["gradient_clip_val"] is None:
        tries.append("trainer.gradient_clip_val=1")
    if "energy_l2" in config["objective"]:
        tries.append(f"objective.energy_l2={max(0.01, 10 * config['objective']['energy_l2']):.3g}")
    step = config["sampler"].get("step_size")
    if isinstance(step, float | int):
        tries.append(f"sampler.step_size={step / 2:.3g}")
    kept = f"Last good checkpoint: {last}. " if last.is_file() else "No checkpoint was written yet. "
    return f"{kept}Try: {' '.join(tries)}"


def report(directory, module, data, trainer, runs) -> None:
    """Final pictures and numbers of a run, and the commands that come next."""
    from ebm_cli import history, pictures

    rows = history.read_rows(directory / "metrics.csv")
    if rows:
        pictures.curves(rows, directory / "curves.png")
    last = runs.checkpoint_of(directory)
    base, energy = runs.energy_from(runs.read_checkpoint(last))
    subject = subject_of(directory, module, data, base, energy)
    drawn = subject.draw()
    pictures.draw(drawn.x[:64] if len(data.shape) > 1 else drawn.x, data, directory / "samples.png", energy)
    pictures.energies(energy_groups(subject, drawn), directory / "energies.png")
    runs.write_json(directory / "metrics.json", final_metrics(directory, module, trainer, runs, rows))
    name = directory
    print(f"\nrun: {name}\nnext: ebm-sample run={name}\n      ebm-eval run={name}")


def subject_of(directory, module, data, base, energy):
    """The trained model as ebm-sample and ebm-eval see it."""
    from ebm_cli.config import build
    from ebm_cli.run import Subject, default_steps

    n_steps, horizon = default_steps(module.config)
    return Subject(
        energy=energy,
        base=base,
        sampler=build(module.config["sampler"], "sampler"),
        data=data,
        n_steps=n_steps,
        horizon=horizon,
        seed=module.config["seed"],
        num_samples=250 if len(data.shape) > 1 else 500,
        directory=directory,
        config=module.config,
    )


def energy_groups(subject, drawn) -> dict:
    """Energies of training and test data, of samples and of noise, up to 500 each."""
    import torch

    data, energy = subject.data, subject.energy
    generator = torch.Generator().manual_seed(subject.seed)
    groups = {
        "train": data.split("train", 500).x,
        "test": data.split("test", 500).x,
        "samples": drawn.x[:500],
        "noise": subject.base.sample(500, generator),
    }
    with torch.no_grad():
        return {name: energy(x) for name, x in groups.items()}


def final_metrics(directory, module, trainer, runs, rows) -> dict:
    """metrics.json of a run: where it comes from, and the last value of everything logged."""
    last = {k: v for row in rows for k, v in row.items() if k not in ("step", "epoch")}
    protocol = {"update": trainer.global_step, "what": "mean over the last logged updates"}
    return {
        "run": str(directory),
        "checkpoint_sha256": runs.sha256(directory / "checkpoints" / "last.ckpt"),
        "commit": runs.commit(),
        "versions": runs.versions(),
        "seed": module.config["seed"],
        "metrics": {k: {"value": v, "stderr": None, "n": None, "protocol": protocol} for k, v in last.items()},
        "skipped": {},
    }
