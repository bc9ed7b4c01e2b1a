"""A trained model: its energy with all that is needed to sample and to measure it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ebm_cli.config import ConfigError, build, plain
from ebm_cli.config.errors import one_line
from ebm_cli.datasets.datamodule import DataModule
from ebm_cli.datasets.densities import Density
from ebm_cli.datasets.scaling import Scaling
from ebm_cli.energies import Base, Energy, Support
from ebm_cli.models.assemble import build_energy
from ebm_cli.overrides.frozen import FrozenCopies
from ebm_cli.runs.files import checkpoint_of, read_checkpoint, refuse_other_weights
from ebm_cli.runs.find import find_run
from ebm_cli.runs.generate import generate
from ebm_cli.runs.samples import Samples, read_samples
from ebm_cli.samplers import Sampler
from ebm_cli.utils import distributed


def energy_from(content: dict) -> tuple[Base, Energy]:
    """Base and energy of a checkpoint's content, with its (averaged) weights, frozen and in evaluation mode.

    Raises:
        ConfigError: naming the weight that its own config has no place for.
    """
    kept = content["hyper_parameters"]
    try:
        joint = build(kept["config"]["objective"], "objective").joint
        base, energy = build_energy(kept["config"], kept["facts"], joint)
    except (KeyError, TypeError) as error:
        raise ConfigError(f"checkpoint: its config does not describe a model ({one_line(error)})") from error
    weights = content["state_dict"]
    for name, module in (("base", base), ("energy", energy)):
        mine = {k.removeprefix(f"{name}."): v for k, v in weights.items() if k.startswith(f"{name}.")}
        refuse_other_weights(mine, module.state_dict(), "checkpoint", f"{name}.")
        module.load_state_dict(mine)
        module.eval().requires_grad_(False)
    return base, energy


def load_energy(path: str | Path, device: str | torch.device = "cpu") -> Energy:
    """The trained energy of a run, frozen, with its averaged weights, ready for any sampler.

    The checkpoint alone is needed: no data set, no config beside it.

    Args:
        path: run directory, checkpoint file, or ``latest``.
        device: where to put it.

    Raises:
        ConfigError: if there is no run or no readable checkpoint.
    """
    return energy_from(read_checkpoint(checkpoint_of(find_run(path))))[1].to(device)


class KeptData:
    """What a run knows of its data without having them; the data themselves are opened when examples are needed.

    Args:
        node: the config of the data set.
        facts: what the checkpoint keeps of it.
        seed: of the order of the batches.
    """

    restored = DataModule.restored

    def __init__(self, node: dict, facts: dict, seed: int):
        self.node, self.facts, self.seed = node, facts, seed
        self.name, self.n_classes, self.class_names = (facts[key] for key in ("name", "n_classes", "class_names"))
        self.shape, self.support = tuple(facts["shape"]), Support(**facts["support"])
        self.value_range = None if facts["value_range"] is None else tuple(facts["value_range"])
        self.scaling = None if facts["scaling"] is None else Scaling(**facts["scaling"])
        self.density = build(node["density"], "dataset.density", Density) if "density" in node else None

    @cached_property
    def opened(self):
        """The data set.

        Raises:
            ConfigError: if what lies there now is of another shape or support.
        """
        data = build(self.node, "dataset", seed=self.seed)
        check_inputs(data, self.facts, "last")
        return data

    def __getattr__(self, name: str):
        if name.startswith("__") or name == "opened":
            raise AttributeError(name)
        return getattr(self.opened, name)


@dataclass
class TrainedModel:
    """A trained model with all that is needed to sample and to measure it, whichever way it was made.

    ``from_config`` takes what a command means; ``from_run``, ``from_closed_form``, ``from_samples`` and ``from_module``
    are the four ways there are.

    Attributes:
        energy: frozen; None where there is only a file of samples.
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
        drawn: samples by (seed, number, steps), so that several metrics measure the same ones.
        frozen: the copies of networks that chains run on.
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
    frozen: FrozenCopies = field(default_factory=lambda: FrozenCopies(channels_last=False))
    drawn: dict = field(default_factory=dict, repr=False)

    @classmethod
    def from_config(cls, cfg, directory: Path, num_samples: int) -> TrainedModel:
        """The trained model that a composed config of ebm-sample or ebm-eval means.

        Raises:
            ConfigError: as ``from_run`` and ``from_closed_form`` do.
        """
        if cfg.threads:
            torch.set_num_threads(cfg.threads)
        make = cls.from_closed_form if cfg.run is None else cls.from_run
        return make(cfg, directory, num_samples)

    @classmethod
    def from_run(cls, cfg, directory: Path, num_samples: int) -> TrainedModel:
        """The model that the run ``cfg.run`` trained.

        Chains are as long as suits the training, unless the command line gives another ``sampler.n_steps``.

        Raises:
            ConfigError: without a run, without its checkpoint, or with data of another shape.
        """
        content = read_checkpoint(checkpoint_of(find_run(cfg.run), cfg.checkpoint))
        base, energy = energy_from(content)
        trained, facts = content["hyper_parameters"]["config"], content["hyper_parameters"]["facts"]
        if plain(cfg.dataset) == trained["dataset"]:
            data = KeptData(trained["dataset"], facts, cfg.seed)
        else:
            data = build(cfg.dataset, "dataset", seed=cfg.seed)
            check_inputs(data, facts, cfg.checkpoint)
        n_steps, horizon = default_steps(trained | {"sample_steps": cfg.get("sample_steps")})
        wanted = cfg.sampler.get("n_steps")
        if wanted is not None and wanted != trained["sampler"].get("n_steps"):
            n_steps = wanted
        device = distributed.join(cfg)
        return cls(
            energy=energy.to(device),
            base=base.to(device),
            sampler=build(cfg.sampler, "sampler"),
            data=data,
            n_steps=n_steps,
            horizon=horizon,
            seed=cfg.seed,
            num_samples=num_samples,
            directory=distributed.own(directory),
            config=cfg,
            device=device,
            frozen=frozen_copies_of(cfg.frozen_copy, content),
        )

    @classmethod
    def from_closed_form(cls, cfg, directory: Path, num_samples: int) -> TrainedModel:
        """A closed-form energy that ``model=`` names without a run, its exact draws in the place of data.

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
        device, sampler = distributed.join(cfg), build(cfg.sampler, "sampler")
        return cls(
            energy=energy.to(device),
            base=base_for(energy.to(device)),
            sampler=sampler,
            data=Exact(energy, cfg.name, cfg.seed),
            n_steps=sampler.n_steps,
            horizon=None,
            seed=cfg.seed,
            num_samples=num_samples,
            directory=distributed.own(directory),
            config=cfg,
            device=device,
            frozen=FrozenCopies("none"),
        )

    @classmethod
    def from_samples(cls, cfg, directory: Path) -> TrainedModel:
        """No model, only the samples in ``cfg.samples`` and the data set to compare them with.

        Raises:
            ConfigError: for a file that does not hold inputs of these data.
        """
        data = build(cfg.dataset, "dataset", seed=cfg.seed)
        return cls(
            energy=None,
            base=None,
            sampler=None,
            data=data,
            n_steps=0,
            horizon=None,
            seed=cfg.seed,
            num_samples=0,
            directory=directory,
            config=cfg,
            samples=read_samples(cfg.samples, data),
        )

    @classmethod
    def from_module(cls, module, data, directory: Path, num_samples: int) -> TrainedModel:
        """The model that an EnergyModule has trained, its averaged weights in place; training is over, so it is frozen.

        Args:
            module: the trained EnergyModule.
            data: its DataModule.
            directory: the run directory.
            num_samples: how many samples ``draw`` makes.
        """
        config = module.config
        n_steps, horizon = default_steps(config)
        copies = FrozenCopies(config["frozen_copy"], channels_last=bool(module.negatives.frozen.channels_last))
        return cls(
            energy=module.energy.eval().requires_grad_(False),
            base=module.base.eval().requires_grad_(False),
            sampler=build(config["sampler"], "sampler"),
            data=data,
            n_steps=n_steps,
            horizon=horizon,
            seed=config["seed"],
            num_samples=num_samples,
            directory=directory,
            config=config,
            device=module.device,
            frozen=copies,
        )

    def draw(self, n: int | None = None, n_steps: int | None = None) -> Samples:
        """``n`` samples from fresh noise, or the given ones where no number is requested; drawn once, then kept."""
        if n is None and n_steps is None and self.samples is not None:
            return self.samples
        if self.sampler is None or self.energy is None:
            raise ConfigError("this needs a trained model to sample from: give run=PATH")
        wanted = (self.seed, n or self.num_samples, n_steps or self.n_steps)
        if wanted not in self.drawn:
            self.drawn[wanted] = generate(self, *wanted[1:])
        return self.drawn[wanted]


def check_inputs(data, facts: dict, checkpoint: str) -> None:
    """Raises ConfigError if data have another shape, or lie elsewhere, than those that a model was trained on."""
    model = "the run's model" if checkpoint in ("last", "best") else f"the model of checkpoint={checkpoint}"
    if tuple(facts["shape"]) != tuple(data.shape):
        raise ConfigError(f"dataset: {data.name} has shape {tuple(data.shape)}, {model} {tuple(facts['shape'])}")
    if facts["support"] != data.support.as_dict():
        raise ConfigError(f"dataset: {data.name} is {data.support}, {model} knows {Support(**facts['support'])}")


def frozen_copies_of(precision: str, content: dict) -> FrozenCopies:
    """Copies for chains in the memory format that the training settled on, so that they round as they did there."""
    return FrozenCopies(precision, channels_last=bool(negatives_of(content).get("frozen", {}).get("channels_last")))


def negatives_of(content: dict) -> dict:
    """What the first process of a run kept of its chains; empty for weights that came without."""
    ranks = content.get("ranks") or [{}]
    return ranks[0].get("negatives") or {}


def kept_chains(model: TrainedModel) -> Tensor | None:
    """The chains ``(N, *shape)`` that the run's checkpoint keeps, those of the first process; None if it keeps none."""
    if model.config is None or model.config.get("run") is None:
        return None
    content = read_checkpoint(checkpoint_of(find_run(model.config["run"]), model.config.get("checkpoint", "last")))
    population = negatives_of(content).get("population")
    if population is None:
        return None
    kept = content["hyper_parameters"]
    buffer = build(kept["config"]["buffer"], "buffer")
    buffer.keep_within(Support(**kept["facts"]["support"]))
    buffer.load_state(population)
    x = buffer.stored().x
    if not bool(x.isfinite().all()):
        raise ConfigError(f"run={model.config['run']}: its kept chains are not finite: take an earlier checkpoint")
    return x


def default_steps(config: dict) -> tuple[int, int | None]:
    """The chain length that suits how a run was trained, and the horizon beyond which its samples drift.

    Persistent chains live K / restart_probability steps on average, and fresh ones are at their best at about half
    of that; short runs are as long as in training; without restarts from noise, or without chains, a thousand steps.
    A preset that knows better says so in ``sample_steps``.
    """
    objective, k = config["objective"], config["sampler"].get("n_steps", 1000)
    start, restart_probability = objective.get("start"), config["buffer"].get("restart_probability")
    if config.get("sample_steps"):
        return config["sample_steps"], None
    if start == "noise":
        return k, k
    if start == "buffer" and restart_probability:
        return max(k, round(0.5 * k / restart_probability)), round(k / restart_probability)
    return max(k, 1000), None
