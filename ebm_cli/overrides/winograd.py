"""3x3 convolutions by fewer multiplications (Winograd's minimal filtering F(2x2, 3x3); Lavin & Gray 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

NARROW = {torch.float32: 64, torch.bfloat16: 320}  # channels below which transforming costs more than it saves
FEW = 64  # 2x2 tiles of a batch below which the products are too thin
TILES = 256  # at a time: what they are transformed to stays in the cache, and little memory is used
TURNED = (3, 1, 2, 0)  # the rows of G, its columns reversed
OF_KERNEL = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


class WinogradConv(nn.Conv2d):
    """A frozen 3x3 convolution: 16 products of channels make 4 pixels, where written out 36 do.

    The same numbers up to rounding, and so are those of the gradient with respect to the input, which is such a
    convolution too. What gains nothing by it is convolved as usual: odd sides, few pixels, other devices than the
    processor, images whose channels do not lie last. A ``Conv2d`` that ``is_fit`` becomes one by its class; ``prepare``
    follows its weights, which get no gradient.
    """

    kernels: Tensor | None = None  # where the weights are used in the transformed form

    @staticmethod
    def is_fit(module: nn.Module, dtype: torch.dtype = torch.float32) -> bool:
        """Whether ``module`` is a convolution of the form that is meant, with channels enough for that precision."""
        form = {"kernel_size": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
        return (
            type(module) is nn.Conv2d
            and all(getattr(module, key) == value for key, value in form.items())
            and module.padding_mode == "zeros"
            and min(module.in_channels, module.out_channels) >= NARROW[dtype]
        )

    @torch.no_grad()
    def prepare(self) -> None:
        """Transforms the present weights."""
        usual = self.weight.device.type != "cpu" or self.weight.is_contiguous()
        self.kernels = None if usual else transformed(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        if self.kernels is None or height % 2 or width % 2 or n * height * width < 4 * FEW:
            return conv2d(x, self.weight, self.bias, padding=1)
        y = Convolve.apply(x, self.kernels)
        return y if self.bias is None else y + self.bias[:, None, None]


class Convolve(torch.autograd.Function):
    """``convolved(x, kernels)``; its gradient is the same with the kernels turned round and transposed."""

    @staticmethod
    def forward(ctx, x: Tensor, kernels: Tensor) -> Tensor:
        ctx.kernels = kernels
        return convolved(x, kernels)

    @staticmethod
    @once_differentiable
    def backward(ctx, slope: Tensor):
        return convolved(slope, ctx.kernels.transpose(1, 2), TURNED), None


def transformed(weight: Tensor) -> Tensor:
    """``G w G'`` of kernels ``(O, I, 3, 3)``, as ``(16, I, O)``; rounded once."""
    w = weight.to(torch.promote_types(weight.dtype, torch.float32))
    g = w.new_tensor(OF_KERNEL)
    rows = torch.kron(g, g) @ w.permute(2, 3, 0, 1).reshape(9, -1)
    return rows.to(weight.dtype).view(16, *weight.shape[:2]).transpose(1, 2)


def convolved(x: Tensor, kernels: Tensor, order: tuple[int, ...] = (0, 1, 2, 3)) -> Tensor:
    """The convolution of ``x`` ``(N, I, H, W)``, padded by 1, with ``transformed`` kernels ``(16, I, O)``.

    Args:
        order: of the terms in a row and in a column; ``TURNED`` is that of the kernels turned by half a turn.

    Returns:
        ``(N, O, H, W)``, channels last in memory.
    """
    n, _, height, width = x.shape
    y = x.new_empty(n, height, width, kernels.shape[2])
    step = -(-4 * TILES // (height * width))
    for some, out in zip(x.permute(0, 2, 3, 1).split(step), y.split(step), strict=True):
        convolve_into(out, some, kernels, order)
    return y.permute(0, 3, 1, 2)


def convolve_into(y: Tensor, x: Tensor, kernels: Tensor, order: tuple[int, ...]) -> None:
    """Writes the convolution of ``x`` ``(n, H, W, I)`` to ``y`` ``(n, H, W, O)``, a tile being 2x2 pixels of it."""
    n, height, width, channels = x.shape
    h, w = height // 2, width // 2
    padded = x.new_zeros(n, height + 2, width + 2, channels)
    padded[:, 1:-1, 1:-1] = x
    rows = x.new_empty(4, n, h, width + 2, channels)
    take_apart([padded[:, k : k + height - 1 : 2] for k in range(4)], [rows[k] for k in order])
    tiles = x.new_empty(4, 4, n, h, w, channels)
    take_apart([rows[:, :, :, k : k + width - 1 : 2] for k in range(4)], [tiles[:, k] for k in order])
    del padded, rows  # memory goes back as soon as it can
    products = torch.bmm(tiles.view(16, n * h * w, channels), kernels).view(4, 4, n, h, w, -1)
    del tiles
    halves = x.new_empty(2, 4, n, h, w, kernels.shape[2])
    put_together([products[k] for k in order], halves)
    pixels = y.view(n, h, 2, w, 2, -1).permute(4, 2, 0, 1, 3, 5)
    put_together([halves[:, k] for k in order], pixels)


def take_apart(pixels: list[Tensor], out: list[Tensor]) -> None:
    """Writes ``B' d`` to ``out``, four pixels in a row to four terms."""
    a, b, c, d = pixels
    torch.sub(a, c, out=out[0])
    torch.add(b, c, out=out[1])
    torch.sub(c, b, out=out[2])
    torch.sub(b, d, out=out[3])


def put_together(terms: list[Tensor], out: Tensor) -> None:
    """Writes ``A' m`` to ``out``, four terms to two pixels."""
    a, b, c, d = terms
    torch.add(a, b, out=out[0]).add_(c)
    torch.sub(b, c, out=out[1]).sub_(d)
