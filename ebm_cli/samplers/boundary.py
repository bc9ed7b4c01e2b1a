"""What happens to a chain at the border of its box."""

from __future__ import annotations

from torch import Tensor

from ebm_cli.energies.energy import Support

BOUNDARIES = (None, "clamp", "reflect")


def check_boundary(boundary: str | None, support: Support) -> None:
    """Raises ValueError for an unknown boundary, or one that the support has no border for."""
    if boundary not in BOUNDARIES:
        raise ValueError(f"boundary must be clamp, reflect or null, got {boundary!r}")
    if boundary and support.kind != "box":
        raise ValueError(f"boundary={boundary} needs an energy on a box; this one is defined on {support.kind} inputs")


def at_border(x: Tensor, boundary: str | None, support: Support) -> Tensor:
    """``x`` put back into the box: clamped to its border, or reflected there, or left alone."""
    if boundary == "clamp":
        return x.clamp(support.low, support.high)
    if boundary == "reflect":
        return reflect(x, support.low, support.high)
    return x


def inside(x: Tensor, support: Support) -> Tensor:
    """``x`` clamped to the box of a support that is one, where a walk has ended; any other ``x`` as it is."""
    return at_border(x, "clamp" if support.kind == "box" else None, support)


def reflect(x: Tensor, low: float, high: float) -> Tensor:
    """``x`` folded into ``[low, high]`` as by mirrors at both ends; any distance outside is folded back."""
    width = high - low
    folded = (x - low).remainder(2 * width)
    return low + folded.minimum(2 * width - folded)
