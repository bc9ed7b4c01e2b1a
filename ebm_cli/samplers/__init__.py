"""Markov transitions and the one loop that runs them; energies are seen through ``Energy`` alone."""

from ebm_cli.samplers.gibbs import Gibbs
from ebm_cli.samplers.gwg import DiscreteMALA, GibbsWithGradients
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.sampler import Chain, DivergenceError, Info, Sampler, State

__all__ = [
    "Chain", "DiscreteMALA", "DivergenceError", "Gibbs", "GibbsWithGradients", "Info", "Langevin", "Sampler", "State",
]  # fmt: skip
