"""The network with non-local layers of the anatomy of EBM learning (Nijkamp et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ebm_cli.models.network import Network, check_image
from ebm_cli.models.network import activation as make_activation


class NonlocalNet(Network):
    """Three 3x3 convolutions with max pooling, a non-local layer before the second and the third, one hidden layer.

    Args:
        width: channels of the first convolution, doubled by each of the others; the hidden layer has 8 times as many.
        activation: see ``MLP``.

    Raises:
        ValueError: for inputs that are no images of at least 8x8.

    Example:
        >>> NonlocalNet((3, 32, 32))(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        width: int = 32,
        activation: str = "leaky_relu_05",
        **supplied,
    ):
        super().__init__(shape, **supplied)
        check_image(self.shape, "NonlocalNet", 8)
        layers = []
        for a, b in ((self.shape[0], width), (width, 2 * width), (2 * width, 4 * width)):
            layers += [NonLocal(a)] if layers else []
            layers += [nn.Conv2d(a, b, 3, padding=1), make_activation(activation), nn.MaxPool2d(2)]
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        height, breadth = (side // 8 for side in self.shape[1:])
        self.head = nn.Sequential(
            nn.Linear(4 * width * height * breadth, 8 * width),
            make_activation(activation),
            nn.Linear(8 * width, self.n_outputs),
        )

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.head(self.convolutions(x))


class NonLocal(nn.Module):
    """``x + W softmax(theta(x)^T phi(x)) g(x)`` over positions, keys and values pooled 2x2 (Wang et al. 2018).

    W starts at 0, so that the layer starts as the identity.
    """

    def __init__(self, channels: int):
        super().__init__()
        inner = max(1, channels // 2)
        self.query = nn.Conv2d(channels, inner, 1)
        self.key = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.MaxPool2d(2))
        self.value = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.MaxPool2d(2))
        self.out = nn.Conv2d(inner, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        weights = torch.softmax(query.transpose(1, 2) @ key, -1)
        mixed = (value @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.out(mixed)
