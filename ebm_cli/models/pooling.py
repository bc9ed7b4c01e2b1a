"""A layer followed by 2x2 average pooling, as one module that a sampler's copy of a network may fold."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d


class ConvPool(nn.Module):
    """``avg_pool2d(conv(x), 2)``.

    Both are linear, so together they are one convolution of stride 2 whose kernel is the mean of four shifted copies;
    whoever copies a network for sampling may put that in place.

    Args:
        conv: the convolution.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(self.conv(x), 2)
