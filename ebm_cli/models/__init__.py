"""Energies: networks, closed forms, normalised bases and compositions of them."""

from ebm_cli.models.bases import Base, BernoulliBase, DataMixture, GaussianBase, UniformBox
from ebm_cli.models.compositions import Measured, Mixture, Negated, Product, Projected, Tempered, Tilted
from ebm_cli.models.energy import REAL, Energy, Support, box
from ebm_cli.models.mlp import MLP
from ebm_cli.models.network import Network

__all__ = [
    "MLP", "REAL", "Base", "BernoulliBase", "DataMixture", "Energy", "GaussianBase", "Measured", "Mixture", "Negated",
    "Network", "Product", "Projected", "Support", "Tempered", "Tilted", "UniformBox", "box",
]  # fmt: skip
