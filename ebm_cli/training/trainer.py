"""What ebm-train does around Lightning: the trainer with its callbacks, the run's folder, the fit, advice."""

from __future__ import annotations

import inspect
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.profilers import AdvancedProfiler, SimpleProfiler
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from ebm_cli.config import ConfigError, build, plain
from ebm_cli.config.build import resolve
from ebm_cli.config.errors import one_line
from ebm_cli.runs import loggers
from ebm_cli.runs.files import read_checkpoint, refuse_other_weights
from ebm_cli.runs.find import point_latest
from ebm_cli.samplers import DivergenceError
from ebm_cli.training.callbacks import Interrupt
from ebm_cli.training.checkpoint_io import CheckpointIO, find_newest_whole
from ebm_cli.training.module import EnergyModule
from ebm_cli.utils.files import write_text

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler}
PRECISIONS = ("32-true", "32", "bf16-mixed", "16-mixed")


def make_trainer(cfg, directory: Path) -> pl.Trainer:
    """The Lightning trainer of a run, with its callbacks and loggers.

    Raises:
        ConfigError: for keywords of the trainer that training by chains cannot keep.
    """
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its tips and device lists
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # Lightning's use of torch, not ours
    options = plain(cfg.trainer)
    options.pop("_target_")
    refuse_options(options)
    if options["barebones"]:
        return make_bare_trainer(options, directory)
    callbacks = build_callbacks(plain(cfg.callbacks or {}))
    if options.pop("max_time") is not None:
        callbacks.append(make_timer(cfg.trainer.max_time))
    options["enable_progress_bar"] = options["enable_progress_bar"] and sys.stderr.isatty()  # not into log files
    if options["profiler"] in PROFILERS:
        options["profiler"] = PROFILERS[options["profiler"]](dirpath=directory, filename="profile")
    options["plugins"] = [CheckpointIO(), *(options["plugins"] or [])]
    with naming_option(options):
        return pl.Trainer(
            **options,
            callbacks=callbacks,
            logger=list(loggers.build_loggers(cfg.logger, directory, directory).values()),
            default_root_dir=directory,
            use_distributed_sampler=False,
            enable_checkpointing=any(isinstance(c, pl.callbacks.Checkpoint) for c in callbacks),
        )


@contextmanager
def naming_option(options: dict) -> Iterator[None]:
    """Makes Lightning's complaint about hardware or a keyword one line that names the key."""
    try:
        yield
    except (MisconfigurationException, ValueError, TypeError) as error:
        if options["accelerator"] == "gpu" and not torch.cuda.is_available():
            raise ConfigError("trainer.accelerator=gpu: there is no GPU that torch can use; trainer=cpu") from error
        text = str(error).split(". ")[0]
        keys = ("strategy", "devices", "accelerator", "precision", "num_nodes", *options)
        key = next((key for key in keys if key in text), None)
        named = "trainer: " if key is None else f"trainer.{key}={options[key]}: "
        raise ConfigError(named + one_line(text)) from error


def make_timer(duration: str) -> Timer:
    """The budget of wall-clock time; Lightning's own would stop inside an epoch, where no checkpoint is written."""
    try:
        return Timer(duration, interval="epoch", verbose=False)
    except MisconfigurationException as error:
        right = "write DD:HH:MM:SS, such as 00:00:01:00 for a minute"
        raise ConfigError(f"trainer.max_time={duration}: not a duration; {right}") from error


def make_bare_trainer(options: dict, directory: Path) -> pl.Trainer:
    """Lightning's loop and nothing else, to be measured: no callbacks, checkpoints, logs or progress."""
    kept = ("accelerator", "strategy", "devices", "num_nodes", "precision", "max_epochs", "max_steps", "plugins")
    more = ("limit_train_batches", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm")
    options = {key: options[key] for key in (*kept, *more)}
    return pl.Trainer(**options, barebones=True, default_root_dir=directory, use_distributed_sampler=False)


def refuse_options(options: dict) -> None:
    """Raises ConfigError for keywords of Lightning's Trainer that cannot be kept here."""
    if options["overfit_batches"]:
        raise ConfigError(
            f"trainer.overfit_batches={options['overfit_batches']}: batches follow the seed and the epoch alone; "
            "for a few examples over and over take a smaller data set, or trainer.limit_train_batches"
        )
    if str(options["precision"]) not in PRECISIONS:
        raise ConfigError(
            f"trainer.precision={options['precision']}: chains and buffers are float32; choose {', '.join(PRECISIONS)}"
        )
    if "fsdp" in str(options["strategy"]) or "deepspeed" in str(options["strategy"]):
        raise ConfigError(f"trainer.strategy={options['strategy']}: chains need whole weights on every device; use ddp")


def build_callbacks(nodes: dict) -> list[pl.Callback]:
    """The callbacks of a config; those that are null, or lack a keyword that they cannot do without, are left out.

    So ``callbacks.pictures=null`` drops the pictures, and ``ema_decay=null`` the weight average.
    """
    wanted = {name: node for name, node in nodes.items() if node is not None and not lacks_keyword(node)}
    return [build(node, f"callbacks.{name}") for name, node in wanted.items()]


def lacks_keyword(node: dict) -> bool:
    """Whether a required keyword of what a node builds is null."""
    takes = inspect.signature(resolve(node.get("_target_"), "callbacks")).parameters
    return any(key in takes and takes[key].default is inspect.Parameter.empty and node[key] is None for key in node)


def warn_of_long_steps(config: dict, data) -> None:
    """Warns where tied Langevin noise takes steps that the narrowest feature of a toy cannot bear."""
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


def prepare(directory: Path, cfg) -> None:
    """Lays out the run directory, and keeps the resolved config in it; call it once all is known to be good."""
    for folder in ("checkpoints", "samples"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    kept, text = directory / "config.yaml", write_config(cfg)
    if kept.is_file() and kept.read_text() != text:  # another phase of the run: both configs stay
        kept.rename(directory / f"config.{len(list(directory.glob('config.*.yaml'))) + 1}.yaml")
    write_text(kept, text)
    point_latest(directory)


def write_config(cfg) -> str:
    """A config as config.yaml has it: without the run that it goes on with, which is the folder it stands in."""
    return OmegaConf.to_yaml(plain(cfg) | {"run": None}, resolve=True)


def settle_paths(cfg) -> None:
    """Makes the paths of data and weights absolute, so that the run knows them from any working directory."""
    for group in ("dataset", "model"):
        node = cfg[group]
        for key in getattr(resolve(node._target_, group), "paths", ()):
            if node.get(key) is not None:
                node[key] = str(Path(node[key]).expanduser().absolute())


def find_start(module: EnergyModule, directory: Path, max_epochs: int | None = None) -> Path | None:
    """The checkpoint that a run goes on from, None at its beginning; nothing is written before it is known to fit.

    Raises:
        ConfigError: naming what in the checkpoint does not fit the model, or files that cannot be read.
    """
    start = find_newest_whole(directory / "checkpoints")
    if start is not None:
        content = read_checkpoint(start)
        refuse_other_weights(content["state_dict"], module.state_dict(), start)
        done = content.get("epoch", -1) + 1
        if max_epochs is not None and 0 <= max_epochs < done:
            raise ConfigError(f"trainer.max_epochs={max_epochs}: this run has {done} epochs behind it; give more")
    return start


def fit(trainer: pl.Trainer, module: EnergyModule, data, directory: Path, start: Path | None) -> None:
    """Runs the training loop from the checkpoint ``start``, if there is one.

    Raises:
        DivergenceError: naming the metric, its bound, the last good checkpoint and what to try next.
    """
    try:
        trainer.fit(module, data, ckpt_path=start, weights_only=True)
    except DivergenceError as error:
        raise DivergenceError(f"{error}. {advise(module.config, directory / 'checkpoints')}") from error
    except RuntimeError as error:
        if trainer.world_size == 1 or not any(name in str(error).lower() for name in ("gloo", "nccl", "connection")):
            raise
        right = f"what was saved is whole: go on with ebm-train run={directory}"
        raise RuntimeError(f"another process of this run has died, or does not answer; {right}") from error
    finally:
        loggers.finish()
    leave_if_interrupted(trainer, directory)


def leave_if_interrupted(trainer: pl.Trainer, directory: Path) -> None:
    """Ends the process, saying how to go on, where a signal has ended the run; status 128 + signal, as shells have it.

    Only rank 0 leaves with that status: Lightning kills all ranks when another one fails.
    """
    signum = next((hook.signum for hook in trainer.callbacks if isinstance(hook, Interrupt)), None)
    if signum is None:
        return
    if trainer.is_global_zero:
        print(f"\nstopped after epoch {trainer.current_epoch}, saved; go on with: ebm-train run={directory}")
    sys.exit(128 + signum if trainer.is_global_zero else 0)


def advise(config: dict, directory: Path) -> str:
    """What to do after a divergence: the checkpoint to go on from, and gentler settings, as overrides to paste."""
    tries = [f"optimizer.lr={config['optimizer']['lr'] / 3:.1g}"]
    if config["trainer"]["gradient_clip_val"] is None:
        tries.append("trainer.gradient_clip_val=1")
    if "energy_l2" in config["objective"]:
        tries.append(f"objective.energy_l2={max(0.01, 10 * config['objective']['energy_l2']):.3g}")
    step = config["sampler"].get("step_size")
    if isinstance(step, float | int):
        tries.append(f"sampler.step_size={step / 2:.3g}")
    if (directory / "last.ckpt").is_file():
        return f"Go on from the last good checkpoint: ebm-train run={directory.parent} {' '.join(tries)}"
    return f"No checkpoint was written yet. Start again with: {' '.join(tries)}"
