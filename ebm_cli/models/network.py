"""The common part of all learned energies: one output, or one per class."""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn

from ebm_cli.energies.energy import REAL, Energy, Support

ACTIVATIONS = {
    "silu": nn.SiLU,
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "leaky_relu_05": lambda: nn.LeakyReLU(0.05),
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}


def activation(name: str) -> nn.Module:
    """The activation module called ``name``.

    Raises:
        ValueError: for an unknown name, listing the known ones.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is unknown; choose one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class Network(Energy):
    """A learned energy. Subclasses implement ``outputs(x, y)`` of shape ``(B, n_outputs)``.

    The first four arguments come from the data and the objective, never from a config file.

    Args:
        shape: shape of one input.
        support: where the data live.
        n_classes: number of labels in the data, or None.
        joint: one output per class, ``E(x, y)``, whose soft minimum over y is ``E(x)``: a JEM. Otherwise one output.

    Example:
        >>> class Squares(Network):
        ...     def outputs(self, x, y=None):
        ...         return x.square().sum(1, keepdim=True)
        >>> Squares((2,))(torch.ones(3, 2)).shape
        torch.Size([3])
    """

    def __init__(self, shape, *, support: Support = REAL, n_classes: int | None = None, joint: bool = False):
        super().__init__(shape, support)
        if joint and not n_classes:
            raise ValueError("a joint model needs class labels, and this data set has none")
        self.joint = joint
        self.n_classes = n_classes if joint else None
        self.n_outputs = n_classes if joint else 1

    def condition(self, conditional: bool, n_classes: int | None) -> None:
        """Declares that labels enter through the input side of the network: ``E(x, y)`` needs ``y``.

        Raises:
            ValueError: without labels, or where a joint model knows them through its outputs already.
        """
        if conditional and (self.joint or not n_classes):
            raise ValueError("conditional=true needs a data set with labels, and an objective that is not joint")
        if conditional:
            self.n_classes = n_classes

    def with_networks(self, replace) -> Energy:
        return replace(self)

    @abc.abstractmethod
    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Raw outputs ``(B, n_outputs)``: energies, per class where the model is joint."""

    def class_energies(self, x: Tensor) -> Tensor:
        """``E(x, y)`` for every class, ``(B, K)``: minus the logits of the classifier that a joint model is.

        Raises:
            TypeError: where the network has no notion of classes.
        """
        if self.joint:
            return self.outputs(x)
        if not self.n_classes:
            raise TypeError(f"this {type(self).__name__} was trained without labels: it has no class energies")
        repeated = x.repeat_interleave(self.n_classes, 0)
        labels = torch.arange(self.n_classes, device=x.device).repeat(len(x))
        return self.outputs(repeated, labels).view(len(x), self.n_classes)

    def forward(self, x: Tensor, y: Tensor | None = None, t: Tensor | None = None) -> Tensor:
        if t is not None:
            raise ValueError(f"{type(self).__name__} knows no noise levels; use model=noise_mlp or recovery_resnet")
        if self.n_classes and y is None:
            return marginal(self.class_energies(x))
        if self.joint:
            return self.outputs(x).gather(1, y[:, None])[:, 0]
        return self.outputs(x, y)[:, 0]


def check_image(shape: tuple[int, ...], network: str, side: int = 1) -> None:
    """Raises ValueError unless ``shape`` is that of an image ``(C, H, W)`` whose sides are at least ``side``."""
    if len(shape) != 3 or min(shape[1:]) < side:
        wanted = f"images (C, H, W) of at least {side}x{side} pixels"
        raise ValueError(f"{network} takes {wanted}, and these data are of shape {tuple(shape)}; try model=mlp")


def marginal(class_energies: Tensor) -> Tensor:
    """``E(x) = -log sum_y exp(-E(x, y))``, ``(B, K) -> (B,)`` (Grathwohl et al. 2020)."""
    return -torch.logsumexp(-class_energies, 1)
