"""Energies: networks, closed forms, normalised bases and compositions of them."""

from ebm_cli.models.bases import Base, BernoulliBase, DataMixture, GaussianBase, UniformBox
from ebm_cli.models.compositions import Measured, Mixture, Negated, Product, Projected, Tempered, Tilted
from ebm_cli.models.convnet import ConvNet
from ebm_cli.models.energy import REAL, Energy, Support, box
from ebm_cli.models.mlp import MLP
from ebm_cli.models.network import Network
from ebm_cli.models.resnet import ResNet
from ebm_cli.models.wide_resnet import WideResNet

__all__ = [
    "MLP", "REAL", "Base", "BernoulliBase", "ConvNet", "DataMixture", "Energy", "GaussianBase", "Measured", "Mixture",
    "Negated", "Network", "Product", "Projected", "ResNet", "Support", "Tempered", "Tilted", "UniformBox",
    "WideResNet", "box",
]  # fmt: skip
