"""Restoration: inpainting, denoising, super-resolution. The model is the prior, the observation an added energy."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ebm_cli.config import ConfigError
from ebm_cli.energies import Energy, Measured, Projected
from ebm_cli.runs.trained import Samples, TrainedModel
from ebm_cli.samplers.diagnostics import effective_temperature
from ebm_cli.samplers.sampler import value_at
from ebm_cli.tasks.inputs import examples, mask_of
from ebm_cli.tasks.task import Result, Task, prior, run_chains, visible
from ebm_cli.utils.distributed import rank_seed

SHOWN = 8  # inputs side by side
CANDIDATES = 5000  # training examples among which the nearest is looked for


@dataclass
class Observation:
    """What is known of n inputs.

    Attributes:
        energy: ``E(x)`` given what is known, bound to n rows.
        picture: the observation as inputs look ``(n, *shape)``.
        hidden: 1 where the inputs are to be restored, 0 where they are known.
        start: where chains start; None is fresh noise.
    """

    energy: Energy
    picture: Tensor
    hidden: Tensor
    start: Tensor | None = None

    def misfit(self, row: int, candidates: Tensor) -> Tensor:
        """Squared distance ``(m,)`` of ``candidates`` ``(m, *shape)`` from what is known of one row."""
        energy = self.energy.rows(torch.full((len(candidates),), row))
        if isinstance(energy, Projected):
            return (energy.project(candidates) - candidates).flatten(1).square().sum(1)
        return (energy.operator(candidates) - energy.b).flatten(1).square().sum(1)


@dataclass(kw_only=True, eq=False)
class Restoration(Task):
    """Base of the restorations: test inputs, or the user's own, are corrupted and drawn again given what is left.

    Every input is restored ``repeats`` times; the mean of these draws estimates the posterior mean, whose squared error
    is the least that any restoration can have.

    Args:
        input: ``test``, or a folder of images.
        repeats: restorations of each input.
    """

    input: str = "test"
    repeats: int = 16

    def __post_init__(self):
        super().__post_init__()
        if self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {self.repeats}")

    @abstractmethod
    def observe(self, model: TrainedModel, energy: Energy, x: Tensor, generator: torch.Generator) -> Observation:
        """What is left of the true inputs ``x``, with ``energy`` as the prior."""

    def __call__(self, model: TrainedModel, n: int) -> Result:
        x, y = examples(model, self.input, n)
        n, generator = len(x), torch.Generator(model.device).manual_seed(rank_seed(model.seed, 2 * 10**6))
        once = self.observe(model, prior(model, y, n), x, generator)
        # All repeats run as one batch, input by input within a repeat; repeats of an input share its posterior.
        each = torch.arange(n, device=model.device).repeat(self.repeats)
        start = None if once.start is None else once.start[each]
        drawn, recorder = run_chains(model, once.energy.rows(each), len(each), start=start, laws=each)
        every = drawn.x.to(model.device).view(self.repeats, n, *x.shape[1:])
        one = Samples(every[0].cpu(), drawn.energy[:n], None, drawn.n_steps)
        restored = {"one restoration": every[0], f"mean of {self.repeats}": every.mean(0)} | fills(model, once)
        guesses = {"corrupted": once.picture} | restored
        errors = {name: squared_error(guess, x, once.hidden) for name, guess in guesses.items()}
        return Result(
            one,
            recorder,
            figures={f"squared_error/{name.replace(' ', '_')}": value for name, value in errors.items()},
            panels=panels(x, once, restored, errors),
            inputs={"true": x, "corrupted": once.picture, "mean": every.mean(0)},
        )


def squared_error(guess: Tensor, x: Tensor, hidden: Tensor) -> float:
    """Mean over inputs of the squared error per hidden entry, in squared units of the data.

    Example:
        >>> squared_error(torch.tensor([[3.0, 9.0]]), torch.zeros(1, 2), hidden=torch.tensor([[1.0, 0.0]]))
        9.0
    """
    return float(((guess - x).square() * hidden).sum() / hidden.sum().clamp_min(1))


def fills(model: TrainedModel, observation: Observation) -> dict[str, Tensor]:
    """What needs no model: the mean training example, and the one that fits the observation best."""
    train = model.data.split("train", CANDIDATES).x.to(model.device)
    n = len(observation.picture)
    nearest = torch.stack([train[observation.misfit(row, train).argmin()] for row in range(n)])
    mean = train.mean(0).expand_as(nearest)
    return {"mean fill": visible(observation.energy, mean), "nearest neighbor": visible(observation.energy, nearest)}


def panels(x: Tensor, observation: Observation, restored: dict, errors: dict) -> dict[str, Tensor]:
    """True, corrupted and restored inputs by title; the titles carry the squared errors."""
    guesses = {"corrupted": observation.picture} | restored
    titled = {f"{name}\n{errors[name]:.3g}": guess for name, guess in guesses.items()}
    return {k: v[:SHOWN].cpu() for k, v in ({"true": x} | titled).items()}


@dataclass(kw_only=True, eq=False)
class Inpaint(Restoration):
    """Hidden entries drawn given the known ones: the energy at the input with the known entries put back.

    The hidden entries follow the model's conditional law exactly, whatever the sampler.

    Args:
        mask: ``box``, ``half``, ``random``, or a PNG in the size of the images, white where they are hidden.
        share: hidden share of ``box`` and ``random``, between 0 and 1.
        input, repeats: see ``Restoration``.
    """

    mask: str = "half"
    share: float = 0.25

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.share < 1:
            raise ValueError(f"share must lie between 0 and 1, got {self.share}")

    def observe(self, model, energy, x, generator):
        known = mask_of(self.mask, self.share, tuple(model.data.shape), len(x), generator)
        picture = torch.where(known > 0, x, x.mean() if model.data.value_range is None else mid_grey(model))
        return Observation(Projected(energy, put_back, torch.stack([x, known], 1)), picture, 1 - known)


def put_back(x: Tensor, known: Tensor) -> Tensor:
    """``x`` with its known entries put back; ``known`` ``(B, 2, *shape)`` holds values and mask.

    Example:
        >>> values, mask = torch.tensor([5.0, 5.0]), torch.tensor([1.0, 0.0])
        >>> put_back(torch.zeros(1, 2), torch.stack([values, mask])[None])
        tensor([[5., 0.]])
    """
    values, mask = known.unbind(1)
    return torch.where(mask > 0, values, x)


def mid_grey(model: TrainedModel) -> float:
    return sum(model.data.value_range) / 2


def measured(model: TrainedModel, energy: Energy, operator, b: Tensor, noise_std: float) -> Measured:
    """The prior with a soft measurement of noise ``noise_std``, at the temperature that the sampler works at.

    Chains at temperature T sample ``exp(-E/T)``, so that the measurement enters as ``T |A(x) - b|^2 / (2 s^2)``.

    Raises:
        ConfigError: where the measurement is too stiff for the sampler's step.
    """
    temperature, step_size = effective_temperature(model.sampler), model.sampler.step_size
    stiffness = 0.0 if step_size is None else float(value_at(step_size, 0, 1)) * temperature / noise_std**2
    if stiffness > 1:
        least, step = noise_std * stiffness**0.5, float(value_at(step_size, 0, 1)) / stiffness
        raise ConfigError(
            f"task.noise_std={noise_std:g}: too stiff for the sampler; take at least {least:.2g}, or "
            f"sampler.step_size={step:.2g} with as much noise as keeps the temperature"
        )
    return Measured(energy, operator, b, noise_std / temperature**0.5)


@dataclass(kw_only=True, eq=False)
class Denoise(Restoration):
    """Inputs drawn given themselves with Gaussian noise: ``E(x) + |x - b|^2 / (2 s^2)``, from the noisy input on.

    Args:
        noise_std: s, the standard deviation of the noise, in the units of the data.
        input, repeats: see ``Restoration``.
    """

    noise_std: float = 0.4

    def __post_init__(self):
        super().__post_init__()
        check_positive("noise_std", self.noise_std)

    def observe(self, model, energy, x, generator):
        b = x + self.noise_std * torch.randn(x.shape, generator=generator, device=x.device)
        observed = measured(model, energy, unchanged, b, self.noise_std)
        return Observation(observed, b, torch.ones_like(x), start=inside(b, model))


@dataclass(kw_only=True, eq=False)
class SuperResolve(Restoration):
    """Images drawn given their averages over blocks of pixels, up to a small Gaussian noise.

    Args:
        factor: side of a block, in pixels.
        noise_std: s, the standard deviation of what an average may be off by, in the units of the data.
        input, repeats: see ``Restoration``.
    """

    factor: int = 2
    noise_std: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        check_positive("noise_std", self.noise_std)

    def observe(self, model, energy, x, generator):
        sides = model.data.shape[1:]
        if self.factor < 2 or len(sides) != 2 or any(side % self.factor for side in sides):
            raise ConfigError(f"task.factor={self.factor}: must be 2 or more and divide images of {tuple(sides)}")
        b = avg_pool2d(x, self.factor)
        picture = interpolate(b, scale_factor=self.factor)
        observed = measured(model, energy, lambda v: avg_pool2d(v, self.factor), b, self.noise_std)
        return Observation(observed, picture, torch.ones_like(x), start=picture)


def unchanged(x: Tensor) -> Tensor:
    return x


def check_positive(name: str, value: float) -> None:
    """Raises ValueError, naming the option, for a value that is not above 0."""
    if not value > 0:
        raise ValueError(f"{name} must be positive, got {value}")


def inside(x: Tensor, model: TrainedModel) -> Tensor:
    """``x`` clamped to the box of the data, if there is one."""
    return x if model.data.value_range is None else x.clamp(*model.data.value_range)
