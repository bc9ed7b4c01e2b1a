"""Walkers whose log-weights follow every change of the energy (Jarzynski 1997; Carbone et al. 2023)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import Energy, energies
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.sampler import Info, Sampler, Schedule, State, fixed
from ebm_cli.samplers.tempering import Tempering


@dataclass(eq=False, repr=False)
class Reweighted(Sampler):
    """A transition whose walkers carry the log-weights under which they follow the energy of now, exactly.

    The energy may change between two runs (``aux`` of one is given to the next). A walker that ``kernel`` has moved
    from a to x, under the energy U, weighs ``U(a) - log q(x | a)`` more, and ``U'(x) - log q'(a | x)`` less once the
    next energy U' is known; q is the density of a Langevin step, clip included. Transitions that leave U invariant
    need no density: their walkers weigh ``U(x) - U'(x)`` more. ``log_mean_exp(log_w)`` estimates log Z.

    Args:
        kernel: ``Langevin`` with the noise last and no border, or any Metropolis or Gibbs transition.

    Attributes:
        temperature: T of the law ``exp(-E / T)`` that the weights refer to.

    Raises:
        ValueError: for transitions that have neither an invariant law nor a density.

    Example:
        >>> from ebm_cli.energies import Gaussian, GaussianBase
        >>> sampler, generator = Reweighted(Langevin(step_size=0.1)), torch.Generator().manual_seed(0)
        >>> aux = sampler.start_from(GaussianBase((2,)), 100, generator)
        >>> chain = sampler.sample(Gaussian(dim=2), aux["x"], n_steps=5, generator=generator, aux=aux)
        >>> chain.log_w.shape
        torch.Size([100])
    """

    kernel: Sampler
    # All that a sampler has besides is the kernel's.
    n_steps: int = fixed(1)
    step_size: Schedule | None = fixed()
    temperature: Schedule = fixed(1.0)
    chunk_size: int | None = fixed()

    def __post_init__(self):
        kernel = self.kernel
        check_kernel(kernel)
        self.n_steps, self.chunk_size = kernel.n_steps, kernel.chunk_size
        self.temperature = kernel.temperature if kernel.exact else kernel.effective_temperature()
        super().__post_init__()
        self.supports, self.uses_gradient = kernel.supports, kernel.uses_gradient

    def check(self, energy: Energy) -> None:
        self.kernel.check(energy)

    def start(self, x: Tensor, generator) -> dict[str, Tensor]:
        zero = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        own = {"at": x, "value": zero, "log_forward": zero, "log_w": zero, "moved": zero.bool()}
        return self.kernel.start(x, generator) | own

    def start_from(self, base, n: int, generator) -> dict[str, Tensor]:
        """Walkers drawn from a base density, which weigh what the energy they meet next makes of them."""
        x = base.sample(n, generator)
        return self.start(x, generator) | {"x": x, "value": energies(base, x).double()}

    def step(self, energy: Energy, state: State, i: int, n: int, generator) -> tuple[State, Info]:
        state = self.kernel.evaluate_state(energy, state)
        log_w = self.update_weights(state)
        moved, info = self.kernel.step(energy, state, i, n, generator)
        if self.kernel.exact:
            moved = self.kernel.evaluate_state(energy, moved)
            trace = {"at": moved.x, "value": self.reduced(moved.energy)}
        else:
            trace = {
                "at": state.x,
                "value": self.reduced(state.energy),
                "log_forward": self.kernel.log_density(state.x, state.grad, moved.x).double(),
                "moved": torch.ones_like(state.aux["moved"]),
            }
        aux = {**state.aux, **moved.aux, **trace, "log_w": log_w}
        return moved._replace(aux=aux), info._replace(extra={**info.extra, "log_w": log_w})

    def update_weights(self, state: State) -> Tensor:
        """Log-weights ``(B,)`` under the energy of now, evaluated in ``state``."""
        aux = state.aux
        log_w = aux["log_w"] + aux["value"] - self.reduced(state.energy)
        if self.kernel.exact:
            return log_w
        backward = self.kernel.log_density(state.x, state.grad, aux["at"]).double()
        return log_w + torch.where(aux["moved"], backward - aux["log_forward"], 0.0)

    def reduced(self, value: Tensor) -> Tensor:
        """``E / T`` in double precision: weights add up over the whole training."""
        return value.double() / self.temperature


def check_kernel(kernel: Sampler) -> None:
    """Raises ValueError for transitions that have neither an invariant law nor a density."""
    name = type(kernel).__name__
    if isinstance(kernel, Tempering) or kernel.weighted or not (kernel.exact or isinstance(kernel, Langevin)):
        raise ValueError(
            f"sampler: weights need a transition that is exact or has a density, and {name} is neither; "
            "use langevin, mala, hmc or gibbs"
        )
    if not kernel.exact and (kernel.boundary or kernel.noise_first):
        raise ValueError(
            "sampler: the density of a Langevin step needs sampler.boundary=null and sampler.noise_first=false; "
            "inputs in a box can move by sampler=hmc sampler.boundary=reflect"
        )
