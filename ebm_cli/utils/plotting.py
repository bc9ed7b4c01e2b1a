"""Pictures that commands write: sample grids, scatter plots over the density, energy histograms, curves."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ebm_cli.utils.files import atomic

SHOWN = 400  # images in one picture, at most


def new_figure(*size: float, rows: int = 1, columns: int = 1):
    """A matplotlib figure without a display, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure, file: Path) -> Path:
    """Writes a figure as PNG, whole or not at all."""
    with atomic(file, "wb") as out:
        figure.savefig(out, dpi=110, format="png")
    return file


def draw(x: Tensor, data, file: Path, energy=None, title: str | None = None) -> Path:
    """Inputs of a data set as the picture that suits them: points for vectors, a grid for images and volumes."""
    if len(data.shape) == 1:
        return scatter(x, data, file, energy, title)
    return grid(as_images(x), data.value_range or (float(x.min()), float(x.max()) + 1e-12), file)


def as_images(x: Tensor) -> Tensor:
    """``(N, C, H, W)`` of inputs of any rank: a channel is added to ``(N, H, W)``, volumes show their middle slice."""
    if x.ndim == 3:
        return x[:, None]
    while x.ndim > 4:
        x = x[:, :, x.shape[2] // 2]
    return x


def grid(x: Tensor, value_range, file: Path, columns: int | None = None) -> Path:
    """Images ``(N, C, H, W)`` in ``value_range`` as one PNG, small ones enlarged; of many the first SHOWN."""
    from torchvision.utils import make_grid, save_image

    x = x[:SHOWN]
    low, high = value_range
    images = ((x - low) / (high - low)).clamp(0, 1)
    scale = max(1, round(48 / images.shape[-1]))
    images = images.repeat_interleave(scale, -1).repeat_interleave(scale, -2)
    columns = columns or max(1, round(len(x) ** 0.5))
    with atomic(file, "wb") as out:
        save_image(make_grid(images, nrow=columns, padding=2, pad_value=0.5), out, format="png")
    return file


def film(frames: list[Tensor], data, file: Path, milliseconds: int = 80) -> Path:
    """A chain as an animated GIF: one frame per moment, ``(n, *shape)`` each; the last one stays longer."""
    from PIL import Image

    pictures = []
    for number, x in enumerate(frames):
        still = draw(x, data, file.with_name(f".frame-{number}.png"))
        with Image.open(still) as picture:
            pictures.append(picture.convert("P", palette=Image.Palette.ADAPTIVE))
        still.unlink()
    durations = [milliseconds] * (len(pictures) - 1) + [20 * milliseconds]
    with atomic(file, "wb") as out:
        pictures[0].save(out, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return file


def panels(groups: dict[str, Tensor], data, file: Path) -> Path:
    """Inputs side by side: one column of images, or one cloud of points, per title; two lines of more than eight."""
    columns = len(groups) if len(groups) <= 8 else -(-len(groups) // 2)
    rows = -(-len(groups) // columns)
    points = len(data.shape) == 1
    tall = 2.2 if points else max(map(len, groups.values())) * 0.8 + 0.6
    figure, axes = new_figure(1.2 * columns if not points else 2.2 * columns, tall * rows, rows=rows, columns=columns)
    for axis in axes.flat:
        axis.set_axis_off()
    low, high = data.value_range or (min(float(x.min()) for x in groups.values()), max_of(groups))
    for axis, (title, x) in zip(axes.flat, groups.items(), strict=False):
        axis.set_title(title, fontsize="small")
        if points:
            axis.scatter(*x[:, :2].T.tolist(), s=4)
            axis.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        else:
            strip = ((as_images(x) - low) / (high - low + 1e-12)).clamp(0, 1)
            strip = torch.nn.functional.pad(strip, (0, 0, 1, 1), value=0.5).permute(0, 2, 3, 1).flatten(0, 1)
            axis.imshow(strip.expand(-1, -1, 3) if strip.shape[-1] == 1 else strip[..., :3], interpolation="nearest")
    return save(figure, file)


def max_of(groups: dict[str, Tensor]) -> float:
    return max(float(x.max()) for x in groups.values())


def chains(
    series: dict[str, Tensor], stats: dict[str, Tensor], autocorrelations: dict, rhats: dict, file: Path
) -> Path:
    """How a few chains went: energies, the sampler's statistics, autocorrelation and R-hat.

    Args:
        series: ``energy`` ``(chains, steps)`` of the whole chains.
        stats: means over chains ``(steps,)`` by name.
        autocorrelations: over lags, by summary.
        rhats: by summary.
    """
    figure, axes = new_figure(10, 6, rows=2, columns=2)
    energy, second, third, fourth = axes.flat
    energy.plot(series["energy"][:16].T.numpy(), linewidth=0.5)
    energy.set(title="energy of 16 chains", xlabel="step")
    for name in ("grad_norm", "acceptance"):
        if name in stats:
            second.plot(stats[name].cpu().numpy(), label=name)
    second.set(title="mean over chains", xlabel="step")
    if second.lines:
        second.legend(fontsize="small")
    for name, values in autocorrelations.items():
        third.plot(values[: max(2, len(values) // 2)].numpy(), label=name)
    third.axhline(0, color="grey", linewidth=0.5)
    third.set(title="autocorrelation, second half", xlabel="lag in steps")
    fourth.barh(list(rhats), [value - 1 for value in rhats.values()], left=1.0)
    fourth.axvline(1.01, color="grey", linewidth=0.5)
    fourth.set(title="R-hat (above 1.01: not mixed)")
    return save(figure, file)


def scatter(x: Tensor, data, file: Path, energy=None, title: str | None = None) -> Path:
    """Points over the model's density (left) and the true one (right), where they are known; ``(N, d)``, d above 2:
    the first two entries, without densities."""
    box = getattr(data.density, "box", None) or float(x.abs().max()) * 1.1
    panels = [("samples and model density", energy)]
    if data.density is not None:
        panels.append(("true density", lambda p: -data.density.log_prob(p)))
    figure, axes = new_figure(4.5 * len(panels), 4.6, columns=len(panels))
    for axis, (name, function) in zip(axes[0], panels, strict=True):
        if function is not None and x.shape[1] == 2:
            axis.imshow(density_image(function, box), extent=[-box, box, -box, box], origin="lower", cmap="magma")
        axis.set(title=title or name, xlim=(-box, box), ylim=(-box, box), aspect="equal")
    axes[0][0].scatter(*x[:2000, :2].T.tolist(), s=2, c="white", alpha=0.5, linewidths=0)
    return save(figure, file)


def density_image(energy, box: float, n: int = 160):
    """``exp(-E)`` on a grid over ``[-box, box]^2``, scaled to its maximum, ``(n, n)`` with rows along y."""
    line = torch.linspace(-box, box, n)
    points = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).view(-1, 2)
    with torch.no_grad():
        values = torch.as_tensor(energy(points))
    return torch.exp(values.min() - values).view(n, n).numpy()


def energies(groups: dict[str, Tensor], file: Path) -> Path:
    """Histograms of energies ``(N,)`` by name: what the model finds likely; the first is filled, the others lines."""
    figure, axes = new_figure(7, 4)
    every = torch.cat([v.flatten() for v in groups.values()])
    low, high = torch.quantile(every[torch.isfinite(every)], torch.tensor([0.002, 0.998])).tolist()
    for i, (name, values) in enumerate(groups.items()):
        style = {"histtype": "step", "linewidth": 1.5} if i else {"alpha": 0.4}
        inside = values.clamp(low, high).numpy()
        axes[0][0].hist(inside, bins=40, range=(low, high), density=True, label=name, **style)
    axes[0][0].set(xlabel="energy (low is likely)", ylabel="density")
    axes[0][0].legend()
    return save(figure, file)


def curves(rows: list[dict], file: Path) -> Path:
    """The history of a run: energies, their gap, and what else was logged, over updates."""
    names = [n for n in dict.fromkeys(k for row in rows for k in row) if n not in ("step", "epoch", "steps_per_second")]
    panels: dict[str, list[str]] = {}
    for name in names:
        together = name in ("energy/data", "energy/samples", "energy/noise")
        panels.setdefault("energies" if together else name, []).append(name)
    columns = min(3, len(panels))
    rows_of_panels = -(-len(panels) // columns)
    figure, axes = new_figure(4 * columns, 2.6 * rows_of_panels, rows=rows_of_panels, columns=columns)
    for axis, (title, members) in zip(axes.flat, panels.items(), strict=False):
        for name in members:
            points = [(row["step"], row[name]) for row in rows if name in row]
            axis.plot(*zip(*points, strict=True), label=name)
        axis.set(title=title, xlabel="update")
        if len(members) > 1:
            axis.legend(fontsize="small")
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    return save(figure, file)
