"""Diagnostics of chains: have they mixed, and at which temperature do they really sample?

Statistics of scalar summaries follow Vehtari et al. (2021), as Stan and ArviZ compute them; the temperatures follow
from integration by parts. Arrays of series are ``(chains, steps)``.
"""

from __future__ import annotations

import math

import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from ebm_cli.energies import Energy, Support
from ebm_cli.energies.energy import energy_and_grad
from ebm_cli.samplers.recorder import Recorder
from ebm_cli.samplers.sampler import Sampler, value_at

MIN_STEPS = 8  # steps that a series needs
KINKED = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ReLU6, nn.MaxPool2d)  # second derivatives of these miss the kinks


class Unsuited(ValueError):
    """A diagnostic whose assumptions do not hold here; the message is the reason."""


# Mixing ------------------------------------------------------------------------------------------------------------


def autocorrelation(series: Tensor) -> Tensor:
    """Autocorrelation over lags ``(n,)``, ``rho_k = 1 - (W - mean_m c_k) / V``.

    ``c_k`` is a chain's autocovariance at lag k, W the mean variance within chains, and V the pooled variance: chains
    that disagree never decorrelate.

    Args:
        series: ``(m, n)``, one scalar of m chains over n steps.

    Raises:
        Unsuited: for series that are too short, or constant.
    """
    m, n = check_series(series).shape
    centered = series.double() - series.double().mean(1, keepdim=True)
    spectrum = torch.fft.rfft(centered, 2 * n)
    covariance = torch.fft.irfft(spectrum.abs().square(), 2 * n)[:, :n].mean(0) / n
    within = covariance[0] * n / (n - 1)
    between = series.double().mean(1).var() if m > 1 else 0.0
    rho = 1 - (within - covariance) / (covariance[0] + between)
    rho[0] = 1.0
    return rho


def check_series(series: Tensor) -> Tensor:
    """``series`` itself, or ``Unsuited`` where it is too short, constant or not finite."""
    if series.shape[1] < MIN_STEPS:
        raise Unsuited(f"{series.shape[1]} steps are too few, {MIN_STEPS} are needed")
    if not series.isfinite().all() or series.double().var() < 1e-24:
        raise Unsuited("the series is constant or not finite")
    return series


def autocorrelation_time(series: Tensor) -> float:
    """Integrated autocorrelation time in steps, ``1 + 2 sum_k rho_k``; 1 for independent draws, about.

    Of a reversible chain the sums of neighboring pairs of lags are positive and decrease; what breaks this is noise, so
    that the sum ends at the first negative pair, and pairs never grow (Geyer 1992).

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> round(autocorrelation_time(torch.randn(4, 2000, generator=generator)), 1)
        1.0
    """
    rho = autocorrelation(series)
    pairs = rho[: len(rho) // 2 * 2].view(-1, 2).sum(1)
    negative = (pairs <= 0).nonzero()
    end = int(negative[0]) if len(negative) else len(pairs)
    tail = max(float(rho[2 * end]), 0.0) if 2 * end < len(rho) else 0.0
    total = -1 + 2 * float(pairs[:end].cummin(0).values.sum()) + tail
    return max(total, 1 / math.log10(series.numel()))


def effective_sample_size(series: Tensor) -> float:
    """Bulk effective sample size ``m n / tau``, tau the autocorrelation time (Vehtari et al. 2021).

    Of the rank-normalized halves of the chains, so that heavy tails do no harm and a drift counts as disagreement.
    """
    ranked = rank_normalize(split_halves(check_series(series)))
    return ranked.numel() / autocorrelation_time(ranked)


def split_rhat(series: Tensor) -> float:
    """Rank-normalized split R-hat, the larger of that of location and that of spread; 1 where chains agree.

    Chains are cut into halves, so that a drift shows too, and values replaced by the normal scores of their ranks;
    spread is the distance from the median. Above 1.01 chains have not mixed (Vehtari et al. 2021).

    Example:
        >>> series = torch.randn(4, 500, generator=torch.Generator().manual_seed(0))
        >>> round(split_rhat(series), 1)
        1.0
        >>> split_rhat(series + torch.tensor([[0.0], [0.0], [9.0], [9.0]])) > 1.5  # two chains in each of two modes
        True
    """
    split = split_halves(check_series(series)).double()
    spread = (split - split.flatten().median()).abs()
    return max(potential_scale_reduction(rank_normalize(s)) for s in (split, spread))


def potential_scale_reduction(series: Tensor) -> float:
    """``sqrt(((n - 1) W + B) / (n W))``, B n times the variance of the chains' means (Gelman & Rubin 1992)."""
    n = series.shape[1]
    within, between = series.var(1).mean(), n * series.mean(1).var()
    if within == 0:
        raise Unsuited("the series do not move")
    return float(((between / within + n - 1) / n).sqrt())


def split_halves(series: Tensor) -> Tensor:
    """Every chain cut into its two halves, ``(m, n) -> (2m, n // 2)``; an odd step in the middle is left out."""
    half = series.shape[1] // 2
    return torch.cat([series[:, :half], series[:, -half:]])


def rank_normalize(series: Tensor) -> Tensor:
    """Normal scores of the ranks among all values (Blom 1958), ties sharing theirs."""
    ranks = torch.from_numpy(rankdata(series.flatten().numpy()))
    return torch.special.ndtri((ranks - 0.375) / (len(ranks) + 0.25)).view(series.shape)


# Temperatures ------------------------------------------------------------------------------------------------------


def effective_temperature(sampler: Sampler) -> float:
    """The temperature that a sampler's noise and step size amount to: its ``temperature``, where they are tied."""
    if hasattr(sampler, "effective_temperature"):
        return float(sampler.effective_temperature())
    return float(value_at(sampler.temperature, 0, 1))


def border_share(x: Tensor, support: Support) -> float:
    """Share of entries at the border of the box, 0 without one."""
    if support.kind != "box":
        return 0.0
    return float(((x <= support.low) | (x >= support.high)).float().mean())


def virial_temperature(x: Tensor, grad: Tensor, support: Support) -> float:
    """``<x . grad E> / d``, which is T where ``p = exp(-E/T)/Z`` vanishes at infinity.

    In a box the field x is replaced by ``v = (x - c)(x - low)(high - x)``, c the center, which vanishes at the border:
    ``T = <v . grad E> / <div v>``. Both follow from integrating ``div(v p)`` by parts.

    Raises:
        Unsuited: where entries lie on the border itself (clamped chains): such a law has no density.
    """
    if not support.continuous:
        raise Unsuited(f"needs a gradient, and {support.kind} inputs have none")
    if support.kind == "real":
        return float((x * grad).mean())
    if border_share(x, support) > 1e-3:
        raise Unsuited(f"{border_share(x, support):.0%} of the entries lie on the border, where there is no density")
    off = x - 0.5 * (support.low + support.high)
    window = (x - support.low) * (support.high - x)
    return float((off * window * grad).mean() / (window - 2 * off.square()).mean())


def configurational_temperature(energy: Energy, x: Tensor, n_probes: int = 16) -> float:
    """``<|grad E|^2> / <laplacian E>``, T at equilibrium (Rugh 1997), the Laplacian by Hutchinson's estimator.

    Args:
        n_probes: random signs z, of which ``z . H z`` estimates the Laplacian.

    Raises:
        Unsuited: in a box, whose border adds a term, and for energies that are not twice differentiable.

    Example:
        >>> from ebm_cli.energies import GaussianBase
        >>> energy = GaussianBase((3,))
        >>> round(configurational_temperature(energy, energy.sample(4000, torch.Generator().manual_seed(0))), 1)
        1.0
    """
    if energy.support.kind != "real":
        raise Unsuited(f"needs an energy on all of R^d, this one is defined on a {energy.support.kind}")
    kinked = next((type(m).__name__ for m in energy.modules() if isinstance(m, KINKED)), None)
    if kinked:
        raise Unsuited(f"needs second derivatives, and {kinked} has kinks")
    generator = torch.Generator(x.device).manual_seed(0)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (grad,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
        if not grad.requires_grad:
            raise Unsuited("the energy is linear: it has no second derivatives")
        laplacian = torch.zeros(len(x), device=x.device)
        for _ in range(n_probes):
            probe = torch.randint(0, 2, x.shape, generator=generator, device=x.device).to(x) * 2 - 1
            (bent,) = torch.autograd.grad(grad, x, probe, retain_graph=True)
            laplacian += (probe * bent).flatten(1).sum(1) / n_probes
    return float(grad.detach().square().flatten(1).sum(1).mean() / laplacian.mean())


# All of them for recorded chains -----------------------------------------------------------------------------------


def compute_diagnostics(recorder: Recorder, sampler: Sampler) -> tuple[dict[str, float], dict[str, str]]:
    """All diagnostics of recorded chains, and the reasons for those that are missing.

    Chains of several laws are compared within each law: R-hat is the worst of the laws, the autocorrelation time their
    mean, the effective sample size their sum.

    Returns:
        values by name, and reasons by name.
    """
    values, skipped = {}, {}

    def enter(name: str, function, *args) -> None:
        try:
            values[name] = function(*args)
        except Unsuited as reason:
            skipped[name] = str(reason)

    # Mixing, of each summary
    for name, groups in recorder.by_law().items():
        enter(f"autocorrelation_time/{name}", lambda g: recorder.thin * mean_autocorrelation_time(g), groups)
        enter(f"ess/{name}", total_effective_sample_size, groups)
        enter(f"rhat/{name}", worst_rhat, groups)

    # Temperatures, at the final positions
    enter("virial_temperature", virial, recorder.energy, recorder.x)
    enter("configurational_temperature", configurational_temperature, recorder.energy, recorder.x)
    if "virial_temperature" in values:
        values["virial_ratio"] = values["virial_temperature"] / float(value_at(sampler.temperature, 0, 1))

    # What an effective draw costs: series are half of what was run, and the recorded chains a part of all
    sizes = [value for name, value in values.items() if name.startswith("ess/")]
    if sizes:
        per_chain = 2 * min(sizes) / len(recorder.x)
        values["ess_per_second"] = per_chain * recorder.n_chains / max(recorder.seconds, 1e-9)
        values["ess_per_gradient"] = per_chain / max(int(recorder.stats["evaluations"].sum()), 1)
    return values, skipped


def worst_rhat(groups: list[Tensor]) -> float:
    """The largest ``split_rhat`` of chains that share a law.

    Args:
        groups: a series ``(chains, steps)`` for each law.

    Raises:
        Unsuited: where no two chains share a law.
    """
    comparable = [series for series in groups if len(series) > 1]
    if not comparable:
        raise Unsuited("no two of the recorded chains share a law (each has an observation or a label of its own)")
    return max(split_rhat(series) for series in comparable)


def total_effective_sample_size(groups: list[Tensor]) -> float:
    """The sum of ``effective_sample_size`` over laws."""
    return sum(effective_sample_size(series) for series in groups)


def mean_autocorrelation_time(groups: list[Tensor]) -> float:
    """The mean of ``autocorrelation_time`` over laws."""
    return sum(autocorrelation_time(series) for series in groups) / len(groups)


def virial(energy: Energy, x: Tensor) -> float:
    """``virial_temperature`` at positions ``x`` of chains on ``energy``."""
    if not energy.support.continuous:  # discrete energies may have no gradient to ask for
        raise Unsuited(f"needs a gradient, and {energy.support.kind} inputs have none")
    return virial_temperature(x, energy_and_grad(energy, x)[1], energy.support)
