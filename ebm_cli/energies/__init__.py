"""What an energy is: closed forms, normalized bases, and compositions of energies."""

from ebm_cli.energies.analytic import ClosedForm, DoubleWell, Funnel, Gaussian, GaussianMixture
from ebm_cli.energies.bases import Base, BernoulliBase, DataMixture, FullGaussianBase, GaussianBase, UniformBox
from ebm_cli.energies.class_gaussians import ClassGaussians
from ebm_cli.energies.compositions import Measured, Mixture, Negated, Product, Projected, Tempered, Tilted
from ebm_cli.energies.discrete import Sites, UniformStates, exact_log_z, exact_sample
from ebm_cli.energies.energy import REAL, Energy, Support, box
from ebm_cli.energies.ising import Ising
from ebm_cli.energies.mixture_ppca import MixturePPCA

__all__ = [
    "Base", "BernoulliBase", "ClassGaussians", "ClosedForm", "DataMixture", "DoubleWell", "Energy", "FullGaussianBase",
    "Funnel", "Gaussian", "GaussianBase", "GaussianMixture", "Ising", "Measured", "Mixture", "MixturePPCA", "Negated",
    "Product", "Projected", "REAL", "Sites", "Support", "Tempered", "Tilted", "UniformBox", "UniformStates", "box",
    "exact_log_z", "exact_sample",
]  # fmt: skip
