"""Markov transitions and the one loop that runs them; they know an energy through ``Energy`` alone."""

from ebm_cli.samplers.ais import AIS
from ebm_cli.samplers.ancestral import Ancestral
from ebm_cli.samplers.annealed import AnnealedLangevin, GradientDescent
from ebm_cli.samplers.gibbs import Gibbs
from ebm_cli.samplers.gwg import DiscreteMALA, GibbsWithGradients
from ebm_cli.samplers.hmc import HMC
from ebm_cli.samplers.langevin import Langevin
from ebm_cli.samplers.mala import MALA, RandomWalkMetropolis
from ebm_cli.samplers.recovery import RecoverySampler, VarianceExploding, VariancePreserving
from ebm_cli.samplers.sampler import Chain, DivergenceError, Info, Sampler, State
from ebm_cli.samplers.schedules import Cosine, Geometric, Polynomial, Ramp
from ebm_cli.samplers.smc import SMC
from ebm_cli.samplers.tempering import ParallelTempering, SimulatedTempering
from ebm_cli.samplers.trajectory import Trajectory
from ebm_cli.samplers.underdamped import UnderdampedLangevin

__all__ = [
    "AIS", "Ancestral", "AnnealedLangevin", "Chain", "Cosine", "DiscreteMALA", "DivergenceError", "Geometric",
    "Gibbs", "GibbsWithGradients", "GradientDescent", "HMC", "Info", "Langevin", "MALA", "ParallelTempering",
    "Polynomial", "Ramp", "RandomWalkMetropolis", "RecoverySampler", "SMC", "Sampler", "SimulatedTempering", "State",
    "Trajectory", "UnderdampedLangevin", "VarianceExploding", "VariancePreserving",
]  # fmt: skip
