"""density: a 2-D model against the density that is known, by quadrature on a grid that shows escaping mass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.energies.energy import energies
from ebm_cli.metrics.metric import Metric, Skip, Value, need_energy, temperature_warning
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.utils import plotting

CHUNK = 65536


@dataclass(kw_only=True, eq=False)
class Density(Metric):
    """log Z, KL(true || model), test log-likelihood and modes of a model on the plane.

    ``log Z = log sum_i exp(-E(x_i)) a`` over midpoints ``x_i`` of cells of area ``a``, in float64, at temperature 1.

    Mass of the model outside the square that holds the data is ``density/outside``; a mode counts as found if the cell
    of points nearest to it carries at least a quarter of its true share.

    Args:
        width: half-width of the grid, in half-widths of the data's square.
        cells_per_sd: grid points per standard deviation of the narrowest feature.
        max_side: largest number of grid points per axis.
    """

    width: float = 3.0
    cells_per_sd: float = 4.0
    max_side: int = 1536

    def __post_init__(self):
        if self.width < 1 or self.cells_per_sd <= 0 or self.max_side < 2:
            found = f"got {self.width}, {self.cells_per_sd}, {self.max_side}"
            raise ValueError(f"width >= 1, cells_per_sd > 0, max_side >= 2 expected, {found}")

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        need_energy(model)
        truth = model.data.density
        if truth is None or tuple(model.data.shape) != (2,):
            raise Skip(f"{model.data.name} has no known density in the plane: try metric=[fd_classifier,ood]")
        points, area = self.grid(truth.box, truth.sd_min)
        energy = energies(model.energy, points.to(model.device), chunk_size=CHUNK).cpu().double()
        if not torch.isfinite(energy.min()):
            raise Skip("the energy is not finite on the grid: the run has diverged; train with a smaller optimizer.lr")
        log_p = torch.cat([truth.log_prob(part) for part in points.double().split(CHUNK)])
        draw(lambda x: model.energy(x.to(model.device)).cpu(), truth, model.directory / "density.png")
        protocol = {"grid": f"{math.isqrt(len(points))}^2 over +-{self.width * truth.box:g}", "temperature": 1.0}
        if warning := temperature_warning(model, 1.0):
            protocol["warning"] = warning
        return compare(truth, model, points, area, energy, log_p, protocol)

    def grid(self, box: float, sd: float) -> tuple[Tensor, float]:
        """Midpoints ``(n^2, 2)`` of square cells over ``[-width * box, width * box]^2``, and the area of a cell."""
        half = self.width * box
        n = min(self.max_side, math.ceil(2 * half * self.cells_per_sd / sd))
        line = ((torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 - 1) * half
        return torch.cartesian_prod(line, line).float(), (2 * half / n) ** 2


def compare(truth, model: TrainedModel, points: Tensor, area: float, energy: Tensor, log_p: Tensor, protocol: dict):
    """All values of the model ``energy`` ``(n^2,)`` and the true ``log_p`` ``(n^2,)`` on the grid."""
    n = len(points)
    log_z = float(torch.logsumexp(-energy, 0)) + math.log(area)
    log_q = -energy - log_z
    p, q = log_p.exp() * area, log_q.exp() * area
    outside = q[(points.abs() > truth.box).any(1)].sum()
    found = {
        "density/log_z": Value(log_z, None, n, protocol),
        "density/kl": Value(
            kl_divergence(p, log_p, log_q), None, n, protocol | {"direction": "KL(true || model), nats"}
        ),
        "density/outside": Value(float(outside), None, n, protocol | {"inside": f"+-{truth.box:g}"}),
        "density/entropy": Value(float(truth.entropy), None, None, {"what": "of the true density, nats"}),
        "density/log_likelihood": likelihood(model, log_z, protocol),
    }
    return found | modes(truth, points, p, q, protocol)


def kl_divergence(p: Tensor, log_p: Tensor, log_q: Tensor) -> float:
    """``sum p (log p - log q)`` over cells of probability ``p``; cells without true mass count nothing."""
    full = p > 0
    return float((p[full] * (log_p[full] - log_q[full])).sum() / p.sum())


def likelihood(model: TrainedModel, log_z: float, protocol: dict) -> Value:
    """Mean log-likelihood of the test split in nats, with its standard error over test points."""
    x = model.data.split("test").x
    values = -energies(model.energy, x.to(model.device), chunk_size=CHUNK).cpu().double() - log_z
    stderr = float(values.std() / len(values) ** 0.5)
    return Value(float(values.mean()), stderr, len(x), protocol | {"split": "test"})


def modes(truth, points: Tensor, p: Tensor, q: Tensor, protocol: dict) -> dict[str, Value]:
    """How many modes carry a quarter of their share; the smallest ratio, and largest difference, to their true mass."""
    if truth.modes is None:
        return {}
    cell = torch.cat([torch.cdist(part, truth.modes.float()).argmin(1) for part in points.split(CHUNK)])
    mass = torch.zeros(2, len(truth.modes), dtype=torch.float64)
    mass[0].index_add_(0, cell, p)
    mass[1].index_add_(0, cell, q)
    ratio = mass[1] / mass[0]
    protocol = protocol | {"of": len(ratio), "found": "nearest-mode cell holds >= 1/4 of its true share"}
    return {
        "density/modes": Value(float((ratio >= 0.25).sum()), None, len(points), protocol),
        "density/min_mode_share": Value(float(ratio.min()), None, len(points), protocol),
        "density/mass_error": Value(float((mass[1] - mass[0]).abs().max()), None, len(points), protocol),
    }


def draw(energy, truth, file) -> None:
    """Draws the model's density beside the true one."""
    figure, axes = plotting.new_figure(9, 4.6, columns=2)
    box = truth.box
    for axis, name, function in zip(axes[0], ("model", "truth"), (energy, lambda x: -truth.log_prob(x)), strict=True):
        axis.imshow(plotting.density_image(function, box), extent=[-box, box] * 2, origin="lower", cmap="magma")
        axis.set(title=name)
    plotting.save(figure, file)
