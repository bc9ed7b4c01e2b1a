"""A run directory: find it, read it back, say where it comes from. ``load_energy`` is all that a notebook needs."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import pickle
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn.functional import pad

from ebm_cli import devices
from ebm_cli.chains import rank_seed, unflat
from ebm_cli.config import ConfigError, build, find_run
from ebm_cli.models import Base, Energy, Support
from ebm_cli.models.view import SamplingView
from ebm_cli.samplers import Sampler
from ebm_cli.samplers.smc import systematic

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "numpy")
BLOCK = 250  # chains per block; a block's noise depends on (seed, block) alone, so devices can share the work


# Finding a run -----------------------------------------------------------------------------------------------------


def checkpoint_of(run: Path, name: str = "last") -> Path:
    """The checkpoint called ``last`` or ``best`` of a run, or the file that a path names.

    Raises:
        ConfigError: listing the checkpoints that there are.
    """
    file = Path(name) if name.endswith(".ckpt") else run / "checkpoints" / f"{name}.ckpt"
    if not file.is_file():
        there = ", ".join(f.name for f in sorted((run / "checkpoints").glob("*.ckpt"))) or "none"
        raise ConfigError(f"checkpoint={name}: not in {run}; there are: {there}")
    return file


def point_latest(run: Path) -> None:
    """Makes ``outputs/runs/latest`` point to ``run``, in one rename."""
    if len(run.parents) < 2 or run.parents[1].name != "runs":
        return
    link = run.parents[1] / "latest"
    beside = link.with_name(f"latest.{os.getpid()}")
    beside.symlink_to(run.relative_to(link.parent))
    os.replace(beside, link)


# Reading it back ---------------------------------------------------------------------------------------------------


def read_checkpoint(file: Path) -> dict:
    """A checkpoint's content, tensors and plain values only: nothing in the file is executed.

    Raises:
        ConfigError: if the file is damaged, foreign, or holds anything else.
    """
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise ConfigError(f"{file}: not a readable checkpoint ({type(error).__name__})") from error
    if not isinstance(content, dict) or not {"state_dict", "hyper_parameters"} <= set(content):
        raise ConfigError(f"{file}: not a checkpoint of ebm-train")
    return content


def energy_from(content: dict) -> tuple[Base, Energy]:
    """Base and energy of a checkpoint's content, with its (averaged) weights, frozen and in evaluation mode."""
    from ebm_cli.module import build_energy

    kept = content["hyper_parameters"]
    joint = build(kept["config"]["objective"], "objective").joint
    base, energy = build_energy(kept["config"], kept["facts"], joint)
    weights = content["state_dict"]
    for name, module in (("base", base), ("energy", energy)):
        mine = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
        module.load_state_dict(mine)
        module.eval().requires_grad_(False)
    return base, energy


def load_energy(path: str | Path, device: str | torch.device = "cpu") -> Energy:
    """The trained energy of a run, frozen, with its averaged weights, ready for any sampler.

    Args:
        path: run directory, checkpoint file, or ``latest``.
        device: where to put it.

    Raises:
        ConfigError: if there is no run or no readable checkpoint.
    """
    name = str(path) if str(path).endswith(".ckpt") else "last"
    return energy_from(read_checkpoint(checkpoint_of(find_run(path), name)))[1].to(device)


def read_config(run: Path) -> dict:
    """The resolved config of a run as plain values."""
    return OmegaConf.to_container(OmegaConf.load(run / "config.yaml"), resolve=True)


# What sample and eval work on --------------------------------------------------------------------------------------


@dataclass
class Samples:
    """Generated inputs: ``x`` ``(N, *shape)`` in the data's value range, ``energy`` ``(N,)``, labels ``y`` or None."""

    x: Tensor
    energy: Tensor | None = None
    y: Tensor | None = None
    n_steps: int | None = None


@dataclass
class Subject:
    """A trained model with all that is needed to sample and to measure it.

    Attributes:
        energy: frozen; None when only a file of samples is judged.
        base: where fresh chains start.
        sampler: transition that generates.
        data: the DataModule of the data set.
        n_steps: default length of a generating chain.
        horizon: chain length beyond which the training says nothing, or None if unknown.
        seed: of all randomness.
        num_samples: how many samples metrics draw.
        directory: where results are written.
        config: the composed config.
        samples: given samples (``samples=file.npz``), or None.
        drawn: samples by (seed, number, steps), so that several metrics judge the same ones.
        view: what chains see of networks.
    """

    energy: Energy | None
    base: Base | None
    sampler: Sampler | None
    data: object
    n_steps: int
    horizon: int | None
    seed: int
    num_samples: int
    directory: Path
    config: object
    device: torch.device = torch.device("cpu")
    samples: Samples | None = None
    view: SamplingView = field(default_factory=lambda: SamplingView(channels_last=False))
    drawn: dict = field(default_factory=dict, repr=False)

    def draw(self, n: int | None = None, n_steps: int | None = None) -> Samples:
        """``n`` samples from fresh noise, or the given ones where nothing is asked for; drawn once, then kept."""
        if n is None and n_steps is None and self.samples is not None:
            return self.samples
        if self.sampler is None or self.energy is None:
            raise ConfigError("this needs a trained model to sample from: give run=PATH")
        wanted = (self.seed, n or self.num_samples, n_steps or self.n_steps)
        if wanted not in self.drawn:
            self.drawn[wanted] = generate(self, *wanted[1:])
        return self.drawn[wanted]


def open_subject(cfg, directory: Path, num_samples: int) -> Subject:
    """The trained model that a composed config of ebm-sample or ebm-eval means.

    Chains are as long as suits the training, unless the command line gives another ``sampler.n_steps``.

    Raises:
        ConfigError: without a run, without its checkpoint, or with data of another shape.
    """
    if cfg.threads:
        torch.set_num_threads(cfg.threads)
    if cfg.run is None:
        return closed_form_subject(cfg, directory, num_samples)
    data = build(cfg.dataset, "dataset", seed=cfg.seed)
    content = read_checkpoint(checkpoint_of(find_run(cfg.run), cfg.checkpoint))
    base, energy = energy_from(content)
    check_inputs(data, content["hyper_parameters"]["facts"], cfg.checkpoint)
    kept = content["hyper_parameters"]["config"]
    n_steps, horizon = default_steps(kept | {"sample_steps": cfg.get("sample_steps")})
    asked = cfg.sampler.get("n_steps")
    if asked is not None and asked != kept["sampler"].get("n_steps"):
        n_steps = asked
    device = devices.join(cfg)
    return Subject(
        energy=energy.to(device),
        base=base.to(device),
        sampler=build(cfg.sampler, "sampler"),
        data=data,
        n_steps=n_steps,
        horizon=horizon,
        seed=cfg.seed,
        num_samples=num_samples,
        directory=devices.own(directory),
        config=cfg,
        device=device,
        view=view_of(cfg.view, content),
    )


def check_inputs(data, facts: dict, checkpoint: str) -> None:
    """Raises ConfigError if data have another shape, or lie elsewhere, than those that a model was trained on."""
    model = "the run's model" if checkpoint in ("last", "best") else f"the model of checkpoint={checkpoint}"
    if tuple(facts["shape"]) != tuple(data.shape):
        raise ConfigError(f"dataset: {data.name} has shape {tuple(data.shape)}, {model} {tuple(facts['shape'])}")
    if facts["support"] != data.support.as_dict():
        raise ConfigError(f"dataset: {data.name} is {data.support}, {model} knows {Support(**facts['support'])}")


def closed_form_subject(cfg, directory: Path, num_samples: int) -> Subject:
    """A closed-form energy that a command names by ``model=`` and no run, its exact draws in the place of data.

    Raises:
        ConfigError: without a model, or with one that needs data to be built.
    """
    from ebm_cli.datasets.exact import Exact
    from ebm_cli.samplers.path import base_for

    if cfg.get("model") is None:
        raise ConfigError("run=: name a run directory, or train one first")
    try:
        energy = build(cfg.model, "model")
    except TypeError as error:
        raise ConfigError(f"model={cfg.name}: needs data, so train it first ({error})") from error
    device, sampler = devices.join(cfg), build(cfg.sampler, "sampler")
    return Subject(
        energy=energy.to(device),
        base=base_for(energy.to(device)),
        sampler=sampler,
        data=Exact(energy, cfg.name, cfg.seed),
        n_steps=sampler.n_steps,
        horizon=None,
        seed=cfg.seed,
        num_samples=num_samples,
        directory=devices.own(directory),
        config=cfg,
        device=device,
        view=SamplingView("none"),
    )


def view_of(precision: str, content: dict) -> SamplingView:
    """The view of a run's chains, in the memory format that its training settled on: the same command rounds alike."""
    return SamplingView(precision, channels_last=bool(content["ranks"][0]["chains"]["view"]["channels_last"]))


def generate(
    subject: Subject,
    n: int,
    n_steps: int,
    *,
    energy: Energy | None = None,
    y: Tensor | None = None,
    start: Tensor | None = None,
) -> Samples:
    """Samples in blocks whose randomness depends on (seed, block) alone, shared out among the processes.

    Args:
        energy: instead of the subject's own: a composition, where it binds anything per row, bound to n rows.
        y: labels ``(n,)`` to condition on; a class-conditional energy without them gets balanced ones.
        start: where chains start, ``(n, *shape)``; None is fresh noise.

    Raises:
        ConfigError: for samplers that weigh chains against one another, where every chain has an energy of its own.
    """
    from ebm_cli.chains import needs_labels

    own = energy is not None and energy is not subject.energy
    energy = subject.energy if energy is None else energy
    if y is None and needs_labels(energy):
        y = torch.arange(n) % energy.n_classes
    if subject.sampler.weighted and (own or y is not None):
        name = type(subject.sampler).__name__
        raise ConfigError(f"sampler: {name} weighs chains against one another, and these have energies of their own")
    mine = {}
    for block in range(-(-n // BLOCK))[devices.rank() :: devices.world()]:
        rows = slice(block * BLOCK, min((block + 1) * BLOCK, n))
        generator = torch.Generator(subject.device).manual_seed(rank_seed(subject.seed, block))
        labels = None if y is None else y[rows].to(subject.device)
        conditional = energy.rows(rows) if labels is None else energy.rows(rows).given(y=labels)
        fresh = starts(subject.base, labels, generator)[: rows.stop - rows.start]
        x = fresh if start is None else start[rows].to(subject.device)
        chain = subject.sampler.sample(subject.view.of(conditional, x), x, n_steps=n_steps, generator=generator)
        x = chain.x if chain.log_w is None else chain.x[systematic(chain.log_w, generator)]
        with torch.no_grad():
            mine[block] = x.cpu(), conditional(x).cpu()
    blocks = {block: part for parts in devices.everyone(mine) for block, part in parts.items()}
    x, values = (torch.cat(p) for p in zip(*(blocks[block] for block in sorted(blocks)), strict=True))
    return Samples(x, values, y, n_steps)


def starts(base: Base, y: Tensor | None, generator: torch.Generator) -> Tensor:
    """A block of draws from the base, under labels where there are any: the same ones however many are used."""
    if y is None:
        return base.sample(BLOCK, generator)
    return base.sample_labelled(pad(y, (0, BLOCK - len(y))), generator)


def kept_chains(subject: Subject) -> Tensor | None:
    """The chains ``(N, *shape)`` that the run's checkpoint keeps, those of the first process; None if it keeps none."""
    if subject.config is None or subject.config.get("run") is None:
        return None
    content = read_checkpoint(checkpoint_of(find_run(subject.config["run"]), subject.config.get("checkpoint", "last")))
    entries = content["ranks"][0]["chains"]["entries"] if content.get("ranks") else None
    if entries is None:
        return None
    kept = content["hyper_parameters"]
    buffer = build(kept["config"]["buffer"], "buffer")
    buffer.keep_within(Support(**kept["facts"]["support"]))
    buffer.entries = unflat(entries)
    return buffer.at(slice(None)).x


def default_steps(config: dict) -> tuple[int, int | None]:
    """The chain length that suits how a run was trained, and the horizon beyond which its samples drift.

    Persistent chains live K / reinit steps on average, and fresh ones are at their best at about half of that; short
    runs are as long as in training; without restarts from noise, or without chains, a thousand steps. A preset that
    knows better says so in ``sample_steps``.
    """
    objective, k = config["objective"], config["sampler"].get("n_steps", 1000)
    start, reinit = objective.get("start"), config["buffer"]["reinit"]
    if config.get("sample_steps"):
        return config["sample_steps"], None
    if start == "noise":
        return k, k
    if start == "buffer" and reinit:
        return max(k, round(0.5 * k / reinit)), round(k / reinit)
    return max(k, 1000), None


def write_npz(file: Path, samples: Samples) -> None:
    """samples.npz: ``samples`` in the data's value range, ``energy``, and ``y`` if conditional; whole or absent."""
    arrays = {"samples": samples.x, "energy": samples.energy, "y": samples.y}
    beside = file.with_name(file.name + ".part")
    with beside.open("wb") as out:
        np.savez_compressed(out, **{k: v.numpy() for k, v in arrays.items() if v is not None})
    os.replace(beside, file)


# Where it comes from -----------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for package in (*PACKAGES, "ebm-cli"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> str | None:
    """The commit of this checkout, with ``+`` for uncommitted changes; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def sha256(file: Path) -> str:
    """Hash of a file's bytes."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for part in iter(lambda: stream.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()


def write_json(file: Path, content: dict) -> None:
    """Writes JSON beside the file and renames, so that the file is whole or absent."""
    write_text(file, json.dumps(content, indent=2, allow_nan=True) + "\n")


def write_text(file: Path, text: str) -> None:
    """Writes text beside the file and renames, so that the file is whole or absent."""
    beside = file.with_name(file.name + ".part")
    beside.write_text(text)
    os.replace(beside, file)


__all__ = [
    "Samples", "Subject", "Support", "checkpoint_of", "default_steps", "energy_from", "find_run", "generate",
    "load_energy", "point_latest", "read_checkpoint", "read_config", "sha256", "versions", "write_json",
]  # fmt: skip
