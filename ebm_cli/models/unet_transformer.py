"""The potential of energy matching (Balcerak et al. 2025): a U-Net, then a transformer on patches of what it gives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from ebm_cli.models.network import Network, check_image

GROUPS = 32  # of every group norm
TIME = 0.5  # the U-Net's input for time, always the same: the potential has none


class UNetTransformer(Network):
    """``scale * linear(mean(transformer(patches(unet(x)))))``; with the defaults the source's CIFAR-10 network.

    The U-Net is that of diffusion models (Dhariwal & Nichol 2021) as flow matching uses it, with a constant for time;
    the transformer normalizes after its sums. Attention is written out, so that its gradient has a gradient.

    Args:
        width: channels of the U-Net, which the multiples of each level multiply; divisible by 32.
        multiples: one level each; the image is halved between levels.
        n_blocks: residual blocks per level.
        attention: sides of the image, in pixels, at which there is attention.
        head_width: channels per head there.
        patch: side of a patch in pixels.
        tokens_width: of the transformer.
        n_layers, n_heads: of the transformer.
        dropout: in the blocks of both; chains do not see it.
        scale: factor of the output.

    Raises:
        ValueError: for inputs that are no images, or whose sides are not divisible as levels and patches need.

    Example:
        >>> import torch
        >>> small = {"width": 32, "multiples": [1, 1], "n_blocks": 1, "attention": [], "tokens_width": 8, "n_layers": 1}
        >>> UNetTransformer((3, 16, 16), **small)(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2])
    """

    def __init__(
        self,
        shape,
        *,
        width: int = 128,
        multiples: Sequence[int] = (1, 2, 2, 2),
        n_blocks: int = 2,
        attention: Sequence[int] = (16,),
        head_width: int = 64,
        patch: int = 4,
        tokens_width: int = 384,
        n_layers: int = 8,
        n_heads: int = 4,
        dropout: float = 0.1,
        scale: float = 1000.0,
        **supplied,
    ):
        super().__init__(shape, **supplied)
        divisor = max(patch, 2 ** (len(multiples) - 1))
        check_image(self.shape, "UNetTransformer", divisor)
        if any(side % divisor for side in self.shape[1:]) or width % GROUPS:
            raise ValueError(
                f"UNetTransformer takes sides divisible by {divisor} and a width divisible by {GROUPS}, "
                f"got {self.shape} and width={width}"
            )
        self.scale, self.patch = scale, patch
        options = {"attention": attention, "head_width": head_width, "dropout": dropout}
        self.unet = UNet(self.shape, width, multiples, n_blocks, **options)
        self.embed = nn.Conv2d(self.shape[0], tokens_width, patch, stride=patch)
        nn.init.xavier_uniform_(self.embed.weight)
        n_patches = self.shape[1] * self.shape[2] // patch**2
        self.place = nn.Parameter(torch.zeros(n_patches, tokens_width))
        self.layers = nn.ModuleList(TokenLayer(tokens_width, n_heads, dropout) for _ in range(n_layers))
        self.head = nn.Linear(tokens_width, self.n_outputs)

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        tokens = self.embed(self.unet(x)).flatten(2).transpose(1, 2) + self.place
        for layer in self.layers:
            tokens = layer(tokens)
        return self.scale * self.head(tokens.mean(1))


class UNet(nn.Module):
    """``(B, C, H, W)`` to the same shape, zero before training.

    Args:
        shape: of one image.
        width, multiples, n_blocks, attention, head_width, dropout: see ``UNetTransformer``.
    """

    def __init__(self, shape, width: int, multiples, n_blocks: int, *, attention, head_width: int, dropout: float):
        super().__init__()
        embedding, side = 4 * width, min(shape[1:])
        angles = TIME * 10000.0 ** (-torch.arange(width // 2) / (width // 2))
        self.register_buffer("moment", torch.cat([angles.cos(), angles.sin()])[None])
        self.time = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))

        def stage(a: int, b: int) -> Stage:
            return Stage(a, b, embedding, dropout, head_width if side in attention else None)

        channels, kept = multiples[0] * width, [multiples[0] * width]
        self.stem = nn.Conv2d(shape[0], channels, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, multiple in enumerate(multiples):
            for _ in range(n_blocks):
                self.down.append(stage(channels, multiple * width))
                channels = multiple * width
                kept.append(channels)
            if level < len(multiples) - 1:
                self.down.append(Halve(channels))
                side //= 2
                kept.append(channels)
        self.middle = nn.ModuleList([Stage(channels, channels, embedding, dropout, head_width)])
        self.middle.append(Stage(channels, channels, embedding, dropout, None))
        for level, multiple in reversed(list(enumerate(multiples))):
            for _ in range(n_blocks + 1):
                self.up.append(stage(channels + kept.pop(), multiple * width))
                channels = multiple * width
            if level:
                self.up.append(Double(channels))
                side *= 2
        self.norm, self.last = nn.GroupNorm(GROUPS, channels), zeroed(nn.Conv2d(channels, shape[0], 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        time = self.time(self.moment)
        h, kept = self.stem(x), []
        kept.append(h)
        for layer in self.down:
            h = layer(h, time)
            kept.append(h)
        for layer in self.middle:
            h = layer(h, time)
        for layer in self.up:
            h = layer(torch.cat([h, kept.pop()], 1) if isinstance(layer, Stage) else h, time)
        return self.last(silu(self.norm(h)))


class Stage(nn.Module):
    """A residual block, ``skip(x) + conv(drop(act(norm(conv(act(norm(x))) + W act(time)))))``, and perhaps attention.

    Args:
        a, b: channels in and out.
        embedding: width of the time embedding.
        dropout: before the second convolution.
        head_width: channels per head of the attention behind the block; None for no attention.
    """

    def __init__(self, a: int, b: int, embedding: int, dropout: float, head_width: int | None):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(GROUPS, a), nn.Conv2d(a, b, 3, padding=1)
        self.time = nn.Linear(embedding, b)
        self.norm2, self.conv2 = nn.GroupNorm(GROUPS, b), zeroed(nn.Conv2d(b, b, 3, padding=1))
        self.drop = nn.Dropout(dropout)
        self.skip = nn.Identity() if a == b else nn.Conv2d(a, b, 1)
        self.attention = None if head_width is None else ImageAttention(b, max(1, b // head_width))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(silu(self.norm1(x))) + self.time(silu(time))[:, :, None, None]
        h = self.skip(x) + self.conv2(self.drop(silu(self.norm2(h))))
        return h if self.attention is None else self.attention(h)


class Halve(nn.Conv2d):
    """A strided convolution that halves the image."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return super().forward(x)


class Double(nn.Conv2d):
    """Every pixel four times, then a convolution."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return super().forward(interpolate(x, scale_factor=2.0, mode="nearest"))


class ImageAttention(nn.Module):
    """``x + out(attention(norm(x)))`` over positions; ``out`` is zero before training."""

    def __init__(self, channels: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.norm, self.qkv = nn.GroupNorm(GROUPS, channels), nn.Linear(channels, 3 * channels)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        mixed = self.out(attended(self.qkv(tokens), self.n_heads))
        return x + mixed.transpose(1, 2).unflatten(2, x.shape[2:])


class TokenLayer(nn.Module):
    """A transformer's encoder layer: attention and a GELU perceptron four times as wide, normalized after each sum."""

    def __init__(self, width: int, n_heads: int, dropout: float):
        super().__init__()
        self.n_heads, self.drop = n_heads, nn.Dropout(dropout)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.wide = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout))
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed = self.out(attended(self.qkv(tokens), self.n_heads, self.drop))
        tokens = self.norm1(tokens + self.drop(mixed))
        return self.norm2(tokens + self.drop(self.narrow(self.wide(tokens))))


def attended(qkv: Tensor, n_heads: int, drop=lambda weights: weights) -> Tensor:
    """Scaled dot-product attention ``(B, N, C)`` of queries, keys and values ``(B, N, 3 C)``."""
    query, key, value = qkv.unflatten(2, (3, n_heads, -1)).permute(2, 0, 3, 1, 4)
    weights = torch.softmax(query @ key.transpose(2, 3) / query.shape[-1] ** 0.5, -1)
    return (drop(weights) @ value).transpose(1, 2).flatten(2)


def zeroed(layer: nn.Module) -> nn.Module:
    """A layer that gives zero before training."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
