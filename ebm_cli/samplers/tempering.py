"""Several temperatures: parallel tempering with all replicas in one batch, and simulated tempering."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy
from ebm_cli.samplers.mala import MALA
from ebm_cli.samplers.sampler import Info, Sampler, State, fixed, value_at, whole


@dataclass(kw_only=True, eq=False, repr=False)
class Tempering(Sampler):
    """Base of the tempering samplers: a transition run at each of several temperatures.

    Args:
        n_steps: default number of steps.
        temperatures: increasing, the first is the one that is sampled.
        transition: sampler that moves chains at one temperature; its step size grows with the temperature. Null is
            MALA with ``step_size``.
        step_size: of that MALA at the lowest temperature.

    Raises:
        ValueError: for temperatures that do not increase, and transitions that cannot be run at several of them.
    """

    n_steps: int = 1000
    temperatures: Sequence[float] = (1.0, 2.0, 4.0, 8.0)
    transition: Sampler | None = None
    step_size: float = 0.01
    temperature: float = fixed(1.0)  # becomes the first of ``temperatures``
    chunk_size: int | None = fixed()  # becomes that of the transition

    def __post_init__(self):
        values = [float(t) for t in self.temperatures]
        if len(values) < 2 or values != sorted(set(values)) or values[0] <= 0:
            raise ValueError(f"temperatures must be two or more positive numbers in increasing order, got {values}")
        transition = MALA(step_size=self.step_size) if self.transition is None else self.transition
        check_transition(transition)
        self.temperatures, self.transition = values, transition
        self.temperature, self.chunk_size = values[0], transition.chunk_size
        super().__post_init__()
        # What a tempered sampler can do is what its transition can.
        self.supports, self.exact = transition.supports, transition.exact
        self.uses_gradient = transition.uses_gradient

    def check(self, energy: Energy) -> None:
        super().check(energy)
        self.transition.check(energy)

    def at(self, temperatures: Tensor) -> Sampler:
        """The transition with a temperature, and a step size in proportion, for each row."""
        options = {"temperature": temperatures, "chunk_size": self.chunk_size}
        if self.transition.step_size is not None:
            options["step_size"] = value_at(self.transition.step_size, 0, 1) * temperatures / self.temperatures[0]
        return self.transition.with_options(**options)

    def ladder(self, x: Tensor) -> Tensor:
        return torch.tensor(self.temperatures, device=x.device, dtype=x.dtype)


def check_transition(transition: Sampler) -> None:
    """Raises ValueError for transitions that cannot be run at several temperatures."""
    if not isinstance(transition, Sampler) or isinstance(transition, Tempering):
        raise ValueError(f"transition must be a sampler of one temperature, got {type(transition).__name__}")
    if transition.weighted:
        raise ValueError(f"transition: {type(transition).__name__} makes weighted samples; use mala, hmc or langevin")
    if getattr(transition, "noise_std", None) is not None:
        raise ValueError("transition.noise_std must be null: a fixed noise does not grow with the temperature")


@dataclass(kw_only=True, eq=False, repr=False)
class ParallelTempering(Tempering):
    """Replicas at all temperatures, moved in one batch, neighbors swapped in even and odd turns (Geyer 1991).

    ``x`` is the coldest replica; the others travel in ``aux``. Reported: the acceptance of swaps of each pair,
    ``swap_rate_k``, and ``round_trips``, how many replicas came back to the coldest place from the hottest, per step.

    Args:
        n_steps: default number of steps.
        temperatures: increasing, the first is the one that is sampled.
        transition: sampler of one temperature; null is MALA with ``step_size``.
        step_size: of that MALA at the lowest temperature.
        swap_every: steps between turns of swaps.

    Raises:
        ValueError: for what ``Tempering`` refuses, and transitions that tune their step size.

    Example:
        >>> wells = lambda x: 8 * (x[:, 0].square() - 1).square()
        >>> sampler = ParallelTempering(n_steps=20, temperatures=[1.0, 4.0], step_size=0.02)
        >>> sampler.sample(wells, torch.ones(50, 1)).state.aux["replicas"].shape
        torch.Size([50, 2, 1])
    """

    swap_every: int = 1

    def __post_init__(self):
        super().__post_init__()
        if getattr(self.transition, "adapt_steps", 0):
            raise ValueError("transition.adapt_steps must be 0: the replicas of all temperatures share one step size")
        self.swap_every = whole("swap_every", self.swap_every)

    def start(self, x: Tensor, generator) -> dict[str, Tensor]:
        n = len(self.temperatures)
        replicas = x[:, None].repeat(1, n, *[1] * (x.ndim - 1))
        was_hot = torch.zeros(len(x), n, dtype=torch.bool, device=x.device)
        turn = torch.zeros(len(x), dtype=torch.long, device=x.device)
        inner = self.transition.start(replicas.flatten(0, 1), generator)
        carried = {f"replica_{k}": v.unflatten(0, (len(x), n)) for k, v in inner.items()}
        return {"replicas": replicas, "was_hot": was_hot, "turn": turn} | carried

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        # One batch of all replicas, moved at their own temperatures.
        batch, levels = state.aux["replicas"].shape[:2]
        everyone = energy.rows(torch.arange(batch, device=state.x.device).repeat_interleave(levels))
        hot = self.at(self.ladder(state.x).repeat(batch))
        moved, info = hot.step(everyone, self.unpack(state), i, n, generator)
        moved = hot.evaluate_state(everyone, moved)

        # Neighbors trade places; statistics are those of the coldest.
        order, rates = self.swap(moved.energy.view(batch, levels), state.aux["turn"], generator)
        returned, trips = self.pack(moved, order, state.aux)
        grad, acceptance = (None if v is None else v[::levels] for v in (info.grad, info.acceptance))
        extra = rates | {"round_trips": trips}
        return returned, Info(returned.energy, grad, acceptance, info.evaluations * levels, extra)

    def unpack(self, state: State) -> State:
        """All replicas as one batch ``(B * levels, ...)``."""
        mine = {k: v for k, v in state.aux.items() if k.startswith("replica_")}
        carried = {k.removeprefix("replica_"): v.flatten(0, 1) for k, v in mine.items()}
        value, grad = carried.pop("energy", None), carried.pop("grad", None)
        return State(state.aux["replicas"].flatten(0, 1), value, grad, carried)

    def swap(self, energies: Tensor, turn: Tensor, generator) -> tuple[Tensor, dict]:
        """Which replica comes to which place ``(B, levels)``, and the acceptance of a swap of each pair.

        Even and odd pairs take turns over the life of a chain, so that runs of one step each (training) swap them all.
        """
        batch, levels = energies.shape
        inverse = 1 / self.ladder(energies)
        log_ratio = (inverse[:-1] - inverse[1:]) * (energies[:, :-1] - energies[:, 1:])
        acceptance = log_ratio.clamp_max(0).exp()
        uniform = torch.rand(acceptance.shape, generator=generator, device=energies.device, dtype=energies.dtype)
        order = torch.arange(levels, device=energies.device).repeat(batch, 1)
        pair = torch.arange(levels - 1, device=energies.device)
        due = (turn % self.swap_every == 0)[:, None] & ((turn // self.swap_every)[:, None] % 2 == pair % 2)
        swap = ((uniform < acceptance) & due).long()
        order[:, :-1] += swap
        order[:, 1:] -= swap
        return order, {f"swap_rate_{k}": acceptance[:, k] for k in range(levels - 1)}

    def pack(self, moved: State, order: Tensor, before: dict) -> tuple[State, Tensor]:
        """The state after replicas have taken their places, and which chains ``(B,)`` have closed a round trip."""
        batch, levels = order.shape

        def placed(v: Tensor) -> Tensor:
            v = v.view(batch, levels, *v.shape[1:])
            return v.gather(1, order.view(batch, levels, *[1] * (v.ndim - 2)).expand_as(v))

        carried = {"energy": moved.energy} | ({} if moved.grad is None else {"grad": moved.grad}) | moved.aux
        aux = {f"replica_{k}": placed(v) for k, v in carried.items()} | {"replicas": placed(moved.x)}
        was_hot = before["was_hot"].gather(1, order)
        trips = was_hot[:, 0].float()
        was_hot[:, 0], was_hot[:, -1] = False, True
        grad = None if moved.grad is None else aux["replica_grad"][:, 0]
        aux |= {"was_hot": was_hot, "turn": before["turn"] + 1}
        return State(aux["replicas"][:, 0].clone(), aux["replica_energy"][:, 0], grad, aux), trips


@dataclass(kw_only=True, eq=False, repr=False)
class SimulatedTempering(Tempering):
    """One chain that walks over temperatures with weights ``exp(g_k)`` (Marinari & Parisi 1992).

    Visits are evened out over the first ``adapt_steps`` and the weights kept from then on. ``log_w`` weighs every
    chain, wherever it ends, to the first temperature: ``exp(-E/T_0) / sum_k exp(g_k - E/T_k)``.

    Args:
        n_steps: default number of steps.
        temperatures: increasing, the first is the one that is sampled.
        transition: sampler of one temperature; null is MALA with ``step_size``.
        step_size: of that MALA at the lowest temperature.
        adapt_steps: steps over which the weights are learned.
        log_weights: g_k to start from; null is 0 for each.

    Raises:
        ValueError: for what ``Tempering`` refuses, and transitions that carry something from step to step.

    Example:
        >>> wells = lambda x: 8 * (x[:, 0].square() - 1).square()
        >>> sampler = SimulatedTempering(n_steps=20, temperatures=[1.0, 4.0], step_size=0.02)
        >>> sampler.sample(wells, torch.ones(50, 1)).log_w.shape
        torch.Size([50])
    """

    weighted = True

    adapt_steps: int = 500
    log_weights: Sequence[float] | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.log_weights is not None and len(self.log_weights) != len(self.temperatures):
            raise ValueError(f"log_weights must be one per temperature, got {list(self.log_weights)}")
        if self.transition.start(torch.zeros(1, 1), torch.Generator()):
            name = type(self.transition).__name__
            raise ValueError(f"transition: {name} carries velocities or tuned steps; use mala, hmc or langevin as set")
        self.adapt_steps = int(self.adapt_steps)
        self.log_weights = self.log_weights or [0.0] * len(self.temperatures)

    def start(self, x: Tensor, generator) -> dict[str, Tensor]:
        rows = torch.zeros(len(x), device=x.device)
        log_weights = torch.tensor(self.log_weights, device=x.device, dtype=x.dtype).repeat(len(x), 1)
        return {"level": rows.long(), "log_weights": log_weights, "adapted": rows}

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        ladder, level = self.ladder(state.x), state.aux["level"]
        here = self.at(ladder[level])
        moved, info = here.step(energy, state._replace(aux={}), i, n, generator)
        moved = here.evaluate_state(energy, moved)
        level = self.walk(moved.energy, level, state.aux["log_weights"], generator)
        aux = self.update_weights(state.aux | {"level": level})
        at_target = {"at_target": (level == 0).float()}
        return moved._replace(aux=aux), info._replace(extra=info.extra | at_target)

    def walk(self, energies: Tensor, level: Tensor, log_weights: Tensor, generator) -> Tensor:
        """A step up or down the ladder, accepted or refused; off its ends it is refused."""
        ladder, top = self.ladder(energies), len(self.temperatures) - 1
        draw = torch.rand(2, len(level), generator=generator, device=energies.device)
        wanted = level + torch.where(draw[0] < 0.5, 1, -1)
        there = wanted.clamp(0, top)
        gain = log_weights.gather(1, there[:, None])[:, 0] - log_weights.gather(1, level[:, None])[:, 0]
        log_ratio = energies / ladder[level] - energies / ladder[there] + gain
        return torch.where((wanted == there) & (draw[1].log() < log_ratio), there, level)

    def update_weights(self, aux: dict) -> dict:
        """Weights lowered where chains are, over all chains, with steps that fall off; frozen after ``adapt_steps``."""
        levels = len(self.temperatures)
        visits = torch.nn.functional.one_hot(aux["level"], levels).float().mean(0)
        rate = (10 / (10 + aux["adapted"])) * (aux["adapted"] < self.adapt_steps)
        log_weights = aux["log_weights"] - rate[:, None] * (visits * levels - 1)
        return aux | {"log_weights": log_weights, "adapted": aux["adapted"] + 1}

    def finish(self, energy: Energy, state: State, generator) -> State:
        """Adds ``log_w``."""
        state = self.evaluate_state(energy, state)
        scaled = state.energy[:, None] / self.ladder(state.x)
        log_w = -scaled[:, 0] - torch.logsumexp(state.aux["log_weights"] - scaled, 1)
        return state._replace(aux=state.aux | {"log_w": log_w})
