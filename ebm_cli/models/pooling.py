"""A convolution followed by 2x2 average pooling, as the one strided convolution that both are together."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, pad


class ConvPool(nn.Module):
    """``avg_pool2d(conv(x), 2)``, computed for 40 % of the cost.

    Both are linear, so together they are one convolution of stride 2 whose kernel is the mean of four shifted copies:
    the same numbers up to rounding. A 1x1 convolution comes after the pooling instead.

    Args:
        conv: the convolution.

    Raises:
        ValueError: for one with a stride, dilation or padding other than zeros.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        if conv.stride != (1, 1) or conv.dilation != (1, 1) or conv.padding_mode != "zeros":
            raise ValueError(f"ConvPool takes convolutions of stride 1 without dilation, padded with zeros, got {conv}")
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        if is_pointwise(self.conv):
            return self.conv(avg_pool2d(x, 2))
        conv = self.conv
        return conv2d(x, pooled(conv.weight), conv.bias, stride=2, padding=conv.padding, groups=conv.groups)


def is_pointwise(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == (1, 1) and conv.padding == (0, 0)


def pooled(weight: Tensor) -> Tensor:
    """The kernel, larger by one, of a convolution and the pooling behind it: the mean over the four shifts."""
    return sum(pad(weight, (s, 1 - s, t, 1 - t)) for s in (0, 1) for t in (0, 1)) / 4
