"""Wide residual network as JEM uses it (Zagoruyko & Komodakis 2016; Grathwohl et al. 2020)."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ebm_cli.models.network import Network, check_image


class ActNorm(nn.Module):
    """Scale and shift per channel; the first training batch sets them to give mean 0 and (unbiased) deviation 1.

    From then on they are ordinary parameters (Kingma & Dhariwal 2018). All processes start from their common moments.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.scale = nn.Parameter(torch.ones(channels))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, x: Tensor) -> Tensor:
        if self.training and not self.started:
            self.start(x.detach())
        return (x + self.shift[:, None, None]) * self.scale[:, None, None]

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        moments = torch.stack([x.mean((0, 2, 3)), x.square().mean((0, 2, 3))])
        if dist.is_initialized():
            dist.all_reduce(moments)
            moments = moments / dist.get_world_size()
        mean, square = moments
        count = x.numel() // x.shape[1] * (dist.get_world_size() if dist.is_initialized() else 1)
        variance = (square - mean.square()).clamp_min(0) * (count / max(1, count - 1))
        self.shift.copy_(-mean)
        self.scale.copy_(1 / (variance.sqrt() + 1e-6))
        self.started.fill_(True)


NORMS = {
    "none": lambda channels: nn.Identity(),
    "batch": lambda channels: nn.BatchNorm2d(channels, momentum=0.9),
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "layer": lambda channels: nn.GroupNorm(1, channels),
    "act": ActNorm,
}


class WideResNet(Network):
    """Pre-activation residual network, three stages of ``16 k``, ``32 k`` and ``64 k`` channels, mean over positions.

    Args:
        depth: ``6 n + 4`` layers: n blocks per stage.
        width: k, the factor of the channels.
        norm: ``none`` (JEM), ``batch`` (JEM++), ``instance``, ``layer`` or ``act``.
        dropout: probability inside each block.
        samples_in_train_mode: training's chains see batch statistics and dropout too, as JEM++ does; they then belong
            to no one energy.

    Raises:
        ValueError: for another depth or norm, and for inputs that are no images.

    Example:
        >>> WideResNet((3, 32, 32), depth=10, width=1)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        depth: int = 28,
        width: int = 10,
        norm: str = "none",
        dropout: float = 0.0,
        samples_in_train_mode: bool = False,
        **supplied,
    ):
        super().__init__(shape, **supplied)
        check_image(self.shape, "WideResNet")
        if (depth - 4) % 6 or depth < 10:
            raise ValueError(f"depth must be 6 n + 4, such as 10, 16 or 28, got {depth}")
        if norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
        self.samples_in_train_mode = samples_in_train_mode
        n, channels = (depth - 4) // 6, 16
        self.stem = nn.Conv2d(self.shape[0], channels, 3, padding=1)
        blocks = []
        for stage, stride in ((16, 1), (32, 2), (64, 2)):
            for index in range(n):
                blocks.append(WideBlock(channels, stage * width, stride if index == 0 else 1, norm, dropout))
                channels = stage * width
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(NORMS[norm](channels), nn.LeakyReLU(0.2))
        self.head = nn.Linear(channels, self.n_outputs)

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.head(self.last(self.blocks(self.stem(x))).mean((2, 3)))


class WideBlock(nn.Module):
    """norm, act, conv, dropout, norm, act, conv with the stride; a 1x1 convolution in the shortcut where needed."""

    def __init__(self, a: int, b: int, stride: int, norm: str, dropout: float):
        super().__init__()
        first = [NORMS[norm](a), nn.LeakyReLU(0.2), nn.Conv2d(a, b, 3, padding=1), nn.Dropout(dropout)]
        second = [NORMS[norm](b), nn.LeakyReLU(0.2), nn.Conv2d(b, b, 3, stride, padding=1)]
        self.residual = nn.Sequential(*first, *second)
        changes = stride != 1 or a != b
        self.shortcut = nn.Conv2d(a, b, 1, stride) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)
