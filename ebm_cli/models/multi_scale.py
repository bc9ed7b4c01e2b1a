"""The multi-scale network of improved contrastive divergence (Du et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, silu

from ebm_cli.models.network import Network, check_image
from ebm_cli.models.resnet import spread


class MultiScale(Network):
    """The sum of three energies: of the image halved twice, halved once, and as it is.

    ``terms(x)`` gives the three apart, in that order; the largest branch has self-attention at a quarter of the side.
    With ``width=64`` on 3x32x32 it is the CIFAR-10 network of the source.

    Args:
        width: channels of the first layers.
        conditional: gains and biases per class, from a linear map of the label; labels are then needed.

    Raises:
        ValueError: for inputs that are no images of at least 16x16, or a width that is no multiple of 8.

    Example:
        >>> MultiScale((3, 32, 32), width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        width: int = 64,
        conditional: bool = False,
        **supplied,
    ):
        super().__init__(shape, **supplied)
        check_image(self.shape, "MultiScale", 16)
        if width % 8:
            raise ValueError(f"width must be a multiple of 8, got {width}")
        self.condition(conditional, supplied.get("n_classes"))
        options = {"n_classes": self.n_classes if conditional else None, "n_outputs": self.n_outputs}
        self.branches = nn.ModuleList(Branch(self.shape[0], width, stages, **options) for stages in (2, 3, 4))

    def scales(self, x: Tensor, y: Tensor | None = None) -> list[Tensor]:
        """Outputs ``(B, n_outputs)`` of each branch, the smallest image first."""
        pyramid = [x]
        while len(pyramid) < len(self.branches):
            pyramid.append(halved(pyramid[-1]))
        return [branch(image, y) for branch, image in zip(self.branches, reversed(pyramid), strict=True)]

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return torch.stack(self.scales(x, y)).sum(0)

    def terms(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The energies of the three scales, ``(B, 3)``; ``forward`` is their sum.

        Raises:
            TypeError: for a joint model, whose energy is not a sum over scales.
        """
        if self.joint:
            raise TypeError("the energy of a joint MultiScale marginalizes classes after the sum: it has no terms")
        return torch.cat(self.scales(x, y), 1)


class Branch(nn.Module):
    """A stem, two blocks per stage, a mean over positions, one linear layer.

    Args:
        channels: of the image.
        width: channels of the stem.
        stages: how often the image is halved; the first stage keeps the width, the others double it.
        n_classes: of labels that enter the blocks, or None.
        n_outputs: per input.
    """

    def __init__(self, channels: int, width: int, stages: int, n_classes: int | None, n_outputs: int):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        blocks = []
        for stage in range(stages):
            wider = 2 * width if stage else width
            blocks += [MultiScaleBlock(width, None, n_classes), MultiScaleBlock(width, wider, n_classes)]
            width = wider
            if stages == 4 and stage == 1:
                blocks.append(SelfAttention(width))
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(width, n_outputs)

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = silu(self.stem(x))
        for block in self.blocks:
            h = block(h, y)
        return self.head(silu(h).mean((2, 3)))


class MultiScaleBlock(nn.Module):
    """``x + act(norm(conv(act(norm(conv(x))))))``, then, where it halves the image, ``act(pool(conv(.)))``.

    Args:
        width: channels.
        wider: channels after halving; None does not halve.
        n_classes: of labels that scale and shift what the norms give, or None.
    """

    def __init__(self, width: int, wider: int | None, n_classes: int | None):
        super().__init__()
        self.conv1, self.conv2 = StandardizedConv(width), StandardizedConv(width)
        self.norm1, self.norm2 = norm_of(width), norm_of(width)
        self.down = None if wider is None else nn.Conv2d(width, wider, 3, padding=1)
        self.n_classes = n_classes
        if n_classes:
            self.label1, self.label2 = (nn.Linear(n_classes, 2 * width) for _ in range(2))

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        h = silu(self.labeled(self.norm1(self.conv1(x)), y, 1))
        h = x + silu(self.labeled(self.norm2(self.conv2(h)), y, 2))
        return h if self.down is None else silu(halved(self.down(h)))

    def labeled(self, h: Tensor, y: Tensor | None, place: int) -> Tensor:
        """``gain * h + bias`` of the labels ``y``."""
        if not self.n_classes:
            return h
        label = nn.functional.one_hot(y, self.n_classes).to(h.dtype)
        gain, bias = (self.label1 if place == 1 else self.label2)(label).chunk(2, 1)
        return spread(gain) * h + spread(bias)


class StandardizedConv(nn.Conv2d):
    """A 3x3 convolution whose kernels have mean 0 and deviation 1 each (Qiao et al. 2019)."""

    def __init__(self, width: int):
        super().__init__(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        centered = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        deviation = centered.flatten(1).std(1).view(-1, 1, 1, 1)
        return conv2d(x, centered / (deviation + 1e-5), self.bias, padding=1)


class SelfAttention(nn.Module):
    """``x + gamma softmax(q(x)^T k(x)) v(x)`` over positions; gamma starts at 0 (Zhang et al. 2019)."""

    def __init__(self, width: int):
        super().__init__()
        self.query, self.key = nn.Conv2d(width, width // 8, 1), nn.Conv2d(width, width // 8, 1)
        self.value = nn.Conv2d(width, width, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, y: Tensor | None) -> Tensor:
        query, key, value = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))
        weights = torch.softmax(query.transpose(1, 2) @ key, -1)
        return x + self.gamma * (value @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])


def norm_of(width: int) -> nn.Module:
    return nn.InstanceNorm2d(width, affine=True) if width <= 128 else nn.GroupNorm(32, width)


def halved(x: Tensor) -> Tensor:
    """Means over 3x3 windows at every second position, zeros beyond the border counted, as in the source."""
    return avg_pool2d(x, 3, stride=2, padding=1)
