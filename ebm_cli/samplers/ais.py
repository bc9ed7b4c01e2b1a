"""Annealed importance sampling (Neal 2001): weighted samples, and log Z with its standard error."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from ebm_cli.energies.bases import Base
from ebm_cli.energies.energy import Energy, as_energy, energies
from ebm_cli.samplers.gibbs import Gibbs
from ebm_cli.samplers.hmc import HMC
from ebm_cli.samplers.path import LADDERS, Path, base_for, interpolate, log_mean_exp, make_ladder, space_equally
from ebm_cli.samplers.sampler import Chain, Info, Sampler, State, fixed, whole

LONGEST_PILOT = 200  # levels
ADAPTATION = 0.3  # gain of the log step size per level of the pilot run


class Estimate(NamedTuple):
    """``log Z`` from weighted samples.

    Attributes:
        log_z: estimate, nats.
        stderr: standard error, nats.
        ess: effective sample size of the final weights, in samples.
        mean_log_w: mean log-weight: below log Z in expectation for a forward run, above it for a reverse one.
    """

    log_z: float
    stderr: float
    ess: float
    mean_log_w: float


@dataclass(kw_only=True, eq=False, repr=False)
class AIS(Sampler):
    """Moves draws of a base along a path of densities to ``exp(-E / T)``, and weighs them for what the path leaves out.

    Chains are drawn from ``base``: of the starting points that ``sample`` is given only the number, type and device
    matter. ``Chain.log_w`` holds the log-weights, whose log-mean-exp estimates log Z: see ``estimate``.

    Args:
        n_steps: levels of the path.
        step_size: of the transition at first; ``tune`` adapts it per level.
        temperature: T of the target.
        base: density to start from; null is a standard normal, or uniform over the energy's support.
        transition: sampler that moves chains at each level; null is HMC, or Gibbs for discrete inputs. An unadjusted
            Langevin transition is weighted for its own bias (Neal 2001; Jarzynski 1997).
        n_moves: transitions per level.
        ladder: inverse temperatures: ``linear``, ``geometric`` (from 1e-4), ``sigmoid``, or ``adaptive``: at equal
            thermodynamic length, measured in a pilot run.
        tune: acceptance that a pilot run tunes the step size of an adjusted transition to, per level; null for none.
        pilot: chains in the pilot run.
        chunk_size: evaluate at most so many chains at a time.

    Raises:
        ValueError: for an unknown ladder, or an acceptance outside (0, 1).

    Example:
        >>> from ebm_cli.energies import Gaussian
        >>> energy, generator = Gaussian(dim=2, std=0.8), torch.Generator().manual_seed(0)
        >>> chain = AIS(n_steps=20, pilot=16).sample(energy, torch.zeros(200, 2), generator=generator)
        >>> abs(estimate(chain).log_z - float(energy.log_z(1.0))) < 0.1
        True
    """

    supports = ("real", "box", "binary", "spins", "one_hot")
    exact = True
    weighted = True

    n_steps: int = 1000
    step_size: float = 0.1
    temperature: float = 1.0
    base: Base | None = None
    transition: Sampler | None = None
    n_moves: int = 1
    ladder: str = "adaptive"
    tune: float | None = 0.7
    pilot: int = 64

    # Of a prepared copy: the inverse temperatures, the step sizes at its levels, and how it runs.
    betas: Tensor | None = fixed()
    sizes: Tensor | None = fixed()
    adapts: bool = fixed(False)
    starts_at_given: bool = fixed(False)

    def __post_init__(self):
        super().__post_init__()
        if self.ladder not in LADDERS:
            raise ValueError(f"ladder must be one of {', '.join(LADDERS)}, got {self.ladder!r}")
        if self.tune is not None and not 0 < self.tune < 1:
            raise ValueError(f"tune must be an acceptance between 0 and 1, got {self.tune}")
        self.n_moves, self.pilot = whole("n_moves", self.n_moves), max(8, whole("pilot", self.pilot))

    def check(self, energy: Energy) -> None:
        super().check(energy)
        move = self.move(energy)
        move.check(self.path(energy))
        if move.temperature != 1.0 or getattr(move, "adapt_steps", 0):
            found = f"got {move.temperature} and {getattr(move, 'adapt_steps', 0)}"
            raise ValueError(
                f"transition: temperature 1 and adapt_steps 0 expected ({found}): the path tempers and tunes"
            )
        if not move.exact and (getattr(move, "boundary", None) or getattr(move, "noise_first", False)):
            name = type(move).__name__
            raise ValueError(f"transition: {name} with a border or its noise first has no density: use HMC or MALA")

    def path(self, energy: Energy) -> Path:
        """The path to ``energy``, from the given base or one that suits it."""
        base = base_for(energy) if self.base is None else self.base
        return Path(base, energy, temperature=self.temperature)

    def move(self, energy: Energy) -> Sampler:
        """The transition inside a level."""
        if self.transition is not None:
            return self.transition
        if not energy.support.continuous:
            return Gibbs(chunk_size=self.chunk_size)
        boundary = "reflect" if energy.support.kind == "box" else None
        return HMC(step_size=self.step_size, n_leapfrog=5, boundary=boundary, chunk_size=self.chunk_size)

    # Everything that adapts does so in a pilot run, so that the weights stay unbiased -------------------------------

    def prepare(self, energy: Energy, x: Tensor, n: int, generator) -> Self:
        """A copy with a ladder of n steps and tuned step sizes, from a pilot run where either is wanted."""
        move, ready = self.move(energy), self.with_options(base=self.path(energy).base)
        tunes, adaptive = self.tune is not None and move.exact and move.step_size is not None, self.ladder == "adaptive"
        betas, sizes = make_ladder(self.ladder, n), None
        if tunes or adaptive:
            trial = ready.with_options(betas=make_ladder(self.ladder, min(n, LONGEST_PILOT)), adapts=tunes)
            few = x[:1].expand(self.pilot, *x.shape[1:])
            stats = Sampler.sample(trial, energy, few, n_steps=len(trial.betas) - 1, generator=generator).stats
            betas = space_equally(trial.betas, stats["spread"].cpu(), n) if adaptive else betas
            sizes = interpolate(betas, trial.betas[1:], stats["size"].cpu().double()) if tunes else None
        return ready.with_options(betas=betas, sizes=sizes)

    def sample(self, energy, x: Tensor, *, n_steps: int | None = None, generator=None, **options) -> Chain:
        energy, n = as_energy(energy, x.shape[1:]), self.n_steps if n_steps is None else whole("n_steps", n_steps)
        self.check(energy)
        ready = self.prepare(energy, x, n, generator)
        return super(AIS, ready).sample(energy, x, n_steps=n, generator=generator, **options)

    def reverse(self, energy, x: Tensor, *, n_steps: int | None = None, generator=None) -> Chain:
        """From samples ``x`` of the target back to the base; its log-weights estimate ``-log Z``.

        The bound that they give holds only where ``x`` are exact samples (Grosse et al. 2015).
        """
        energy, n = as_energy(energy, x.shape[1:]), self.n_steps if n_steps is None else whole("n_steps", n_steps)
        self.check(energy)
        ready = self.prepare(energy, x, n, generator)
        sizes = None if ready.sizes is None else ready.sizes.flip(0)
        back = ready.with_options(betas=ready.betas.flip(0), sizes=sizes, starts_at_given=True)
        return Sampler.sample(back, energy, x, n_steps=n, generator=generator)

    # One level ------------------------------------------------------------------------------------------------------

    def start(self, x: Tensor, generator) -> dict[str, Tensor]:
        aux = {"log_w": torch.zeros(len(x), dtype=torch.float64, device=x.device)}
        return aux | ({"size": torch.full_like(aux["log_w"], self.step_size)} if self.adapts else {})

    def init(self, energy: Energy, x: Tensor, generator) -> State:
        if not self.starts_at_given:
            x = self.path(energy).base.sample(len(x), generator).to(x)
        return State(x, aux=self.start(x, generator))

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        # Weigh: chains that follow the level before, under the density of this one.
        path, beta = self.path(energy), float(self.betas[i + 1])
        change = path.change(state.x, self.chunk_size)
        log_w = state.aux["log_w"] + (beta - float(self.betas[i])) * change
        state, extra = self.resample(state._replace(aux=state.aux | {"log_w": log_w}), generator)
        extra |= {"beta": beta, "ess": effective_size(log_w) / len(log_w), "spread": change.std()}

        # Move: the transition at this level, with the step size that the pilot run found or is looking for.
        move = self.move(energy)
        if self.adapts:
            move = move.with_options(step_size=state.aux["size"].to(state.x.dtype))
        elif self.sizes is not None:
            move = move.with_options(step_size=float(self.sizes[i + 1]))
        state, info = self.move_chains(move, path.at(beta), state, generator)
        if self.adapts:
            size = state.aux["size"] * (ADAPTATION * (info.acceptance.double().mean() - self.tune)).exp()
            state, extra = state._replace(aux=state.aux | {"size": size}), extra | {"size": size}
        return state, info._replace(extra=extra)

    def resample(self, state: State, generator) -> tuple[State, dict]:
        """The state once the weights of a level are known, and what to report: as it is here; SMC resamples."""
        return state, {}

    def move_chains(self, move: Sampler, path: Path, state: State, generator) -> tuple[State, Info]:
        """``n_moves`` transitions at one level of the path; the bias of an unadjusted one goes into the weights."""
        inner, log_w, evaluations = move.init(path, state.x, generator), state.aux["log_w"], 1
        for turn in range(self.n_moves):
            before = inner.x
            inner, info = move.step(path, inner, turn, self.n_moves, generator)
            evaluations += info.evaluations
            if not move.exact:
                log_w = log_w + measure_imbalance(move, path, before, inner.x)
        return State(inner.x, aux=state.aux | {"log_w": log_w}), info._replace(evaluations=evaluations)


def measure_imbalance(move: Sampler, path: Path, a: Tensor, b: Tensor) -> Tensor:
    """``log p(b) q(a | b) - log p(a) q(b | a)``: 0 on average over what leaves p invariant, and for a reversible q."""
    there, back = move.log_transition(path, a, b), move.log_transition(path, b, a)
    return (energies(path, a) - energies(path, b) + back - there).double()


def effective_size(log_w: Tensor) -> Tensor:
    """``(sum w)^2 / sum w^2``, between 1 and the number of weights."""
    return (2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0)).exp()


def estimate(chain: Chain, reverse: bool = False) -> Estimate:
    """``log Z`` from the weights of ``AIS.sample`` or ``SMC.sample``, or of ``AIS.reverse``.

    The standard error is that of Lee & Whiteley (2018), from the first ancestors of the chains; without resampling
    it is that of a mean of independent weights. It is too small where the effective sample size is.
    """
    log_w, n = chain.log_w, len(chain.log_w)
    share = torch.softmax(log_w, 0)
    families = share.new_zeros(n).index_add_(
        0, chain.state.aux.get("ancestor", torch.arange(n).to(share.device)), share
    )
    generations = 1 + int(chain.state.aux.get("resampled", log_w.new_zeros(1)).max())
    variance = 1 - (n / (n - 1)) ** generations * (1 - families.square().sum())
    sign = -1.0 if reverse else 1.0
    return Estimate(
        sign * float(log_mean_exp(log_w)),
        float(variance.clamp_min(0).sqrt()),
        float(effective_size(log_w)),
        sign * float(log_w.mean()),
    )
