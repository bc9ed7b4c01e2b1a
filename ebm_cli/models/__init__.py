"""Energies: networks, closed forms, normalised bases and compositions of them."""

from ebm_cli.models.affine_resnet import AffineResNet
from ebm_cli.models.bases import Base, BernoulliBase, DataMixture, FullGaussianBase, GaussianBase, UniformBox
from ebm_cli.models.class_gaussians import ClassGaussians
from ebm_cli.models.classifier import Classifier
from ebm_cli.models.closed_forms import ClosedForm, DoubleWell, Funnel, Gaussian, GaussianMixture
from ebm_cli.models.compositions import Measured, Mixture, Negated, Product, Projected, Tempered, Tilted
from ebm_cli.models.convnet import ConvNet
from ebm_cli.models.convnet3d import ConvNet3d
from ebm_cli.models.discrete import Sites, UniformStates, exact_log_z, exact_sample
from ebm_cli.models.energy import REAL, Energy, Support, box
from ebm_cli.models.ising import Ising
from ebm_cli.models.mlp import MLP
from ebm_cli.models.mnist_net import MnistNet
from ebm_cli.models.multi_scale import MultiScale
from ebm_cli.models.network import Network
from ebm_cli.models.noise_mlp import NoiseMLP
from ebm_cli.models.nonlocal_net import NonlocalNet
from ebm_cli.models.pooling import ConvPool
from ebm_cli.models.rbm import RBM, GaussianRBM
from ebm_cli.models.recovery_resnet import RecoveryResNet
from ebm_cli.models.resnet import ResNet
from ebm_cli.models.unet_transformer import UNetTransformer
from ebm_cli.models.wide_resnet import WideResNet

__all__ = [
    "AffineResNet", "Base", "BernoulliBase", "ClassGaussians", "Classifier", "ClosedForm", "ConvNet", "ConvNet3d",
    "ConvPool", "DataMixture", "DoubleWell", "Energy", "FullGaussianBase", "Funnel", "Gaussian", "GaussianBase",
    "GaussianMixture", "GaussianRBM", "Ising", "MLP", "Measured", "Mixture", "MnistNet", "MultiScale", "Negated",
    "Network", "NoiseMLP", "NonlocalNet", "Product", "Projected", "RBM", "REAL", "RecoveryResNet", "ResNet", "Sites",
    "Support", "Tempered", "Tilted", "UNetTransformer", "UniformBox", "UniformStates", "WideResNet", "box",
    "exact_log_z", "exact_sample",
]  # fmt: skip
