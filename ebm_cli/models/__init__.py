"""Learned energies: one file per network of a paper."""

from ebm_cli.models.affine_resnet import AffineResNet
from ebm_cli.models.classifier import Classifier
from ebm_cli.models.convnet import ConvNet
from ebm_cli.models.convnet3d import ConvNet3d
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
    "AffineResNet", "Classifier", "ConvNet", "ConvNet3d", "ConvPool", "GaussianRBM", "MLP", "MnistNet", "MultiScale",
    "Network", "NoiseMLP", "NonlocalNet", "RBM", "RecoveryResNet", "ResNet", "UNetTransformer", "WideResNet",
]  # fmt: skip
