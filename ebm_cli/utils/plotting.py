"""Pictures that commands write: sample grids, scatter plots over the density, energy histograms, curves."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ebm_cli.utils.files import atomic

SHOWN = 400  # images in one picture, at most
PAIRED = 4  # entries of a vector that are drawn against each other, at most
LINES = 16  # entries from which on smooth vectors are drawn as lines


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


def draw(x: Tensor, data, file: Path, energy=None, title: str | None = None, beside: Tensor | None = None) -> Path:
    """Inputs of a data set as the picture that suits them: a histogram for numbers, points for the plane, lines for
    smooth series, all pairs of the first entries for other vectors, a grid for images and volumes.

    Args:
        beside: examples of the data, drawn beside.
    """
    if len(data.shape) == 1:
        return vectors(x, data, file, energy, title, beside)
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
        still = moment(x, data, file.with_name(f".frame-{number}.png"))
        with Image.open(still) as picture:
            pictures.append(picture.convert("P", palette=Image.Palette.ADAPTIVE))
        still.unlink()
    durations = [milliseconds] * (len(pictures) - 1) + [20 * milliseconds]
    with atomic(file, "wb") as out:
        pictures[0].save(out, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    return file


def moment(x: Tensor, data, file: Path) -> Path:
    """One frame of a film: as ``draw``, but of vectors of more than two entries the first two alone, which is quick."""
    if len(data.shape) > 1 or data.shape[0] == 1 or data.density is not None:
        return draw(x, data, file)
    figure, axes = new_figure(4, 4)
    points = data.restored(x).cpu()
    axes[0][0].scatter(points[:, 0], points[:, 1], s=3)
    axes[0][0].set(xlabel="entry 0", ylabel="entry 1")
    return save(figure, file)


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
            axis.scatter(x[:, 0], x[:, min(1, x.shape[1] - 1)], s=4)
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
    """Points ``(N, 2)`` over the model's density (left) and the true one (right), where they are known."""
    box = getattr(data.density, "box", None) or float(x.abs().max()) * 1.1
    panels = [("samples and model density", energy)]
    if data.density is not None:
        panels.append(("true density", lambda p: -data.density.log_prob(p)))
    figure, axes = new_figure(4.5 * len(panels), 4.6, columns=len(panels))
    for axis, (name, function) in zip(axes[0], panels, strict=True):
        if function is not None:
            axis.imshow(density_image(function, box), extent=[-box, box, -box, box], origin="lower", cmap="magma")
        axis.set(title=title or name, xlim=(-box, box), ylim=(-box, box), aspect="equal")
    axes[0][0].scatter(*x[:2000].T.tolist(), s=2, c="white", alpha=0.5, linewidths=0)
    return save(figure, file)


def vectors(x: Tensor, data, file: Path, energy=None, title: str | None = None, beside: Tensor | None = None) -> Path:
    """Vectors ``(N, d)`` as suits their number of entries, in the user's units, data in grey beside them."""
    d = data.shape[0]
    if d == 2 and data.scaling is None:
        return scatter(x, data, file, energy, title)
    x = data.restored(x).cpu()
    beside = None if beside is None else data.restored(beside).cpu()
    if x.shape[1] >= LINES and is_smooth(x if beside is None else beside):
        return lines(x, file, beside)
    shown = [k for k in range(x.shape[1]) if float(x[:, k].std()) > 0][:PAIRED] or [0]
    figure, axes = new_figure(*[2.2 * len(shown) + 0.8] * 2, rows=len(shown), columns=len(shown))
    for row, k in enumerate(shown):
        for column, j in enumerate(shown):
            axis = axes[row][column]
            for name, points, colour in (("data", beside, "0.6"), ("samples", x, "tab:blue")):
                if points is None:
                    continue
                points = points[:1000]
                if k == j:
                    low, high = limits(x if beside is None else beside, k)
                    axis.hist(
                        points[:, k].clamp(low, high).numpy(), bins=30, range=(low, high), density=True, alpha=0.6,
                        color=colour, label=name,
                    )  # fmt: skip
                else:
                    axis.scatter(points[:, j], points[:, k], s=3, color=colour, alpha=0.5, linewidths=0)
            if row == len(shown) - 1:
                axis.set_xlabel(f"entry {j}", fontsize="small")
            if column == 0:
                axis.set_ylabel("density" if k == j else f"entry {k}", fontsize="small")
            axis.tick_params(labelsize="x-small")
    axes[0][0].legend(fontsize="x-small")
    return save(figure, file)


def limits(x: Tensor, k: int) -> tuple[float, float]:
    """Where a histogram of an entry ends: a tenth of its range beyond the data."""
    low, high = float(x[:, k].min()), float(x[:, k].max())
    slack = 0.1 * (high - low) or 1.0
    return low - slack, high + slack


def is_smooth(x: Tensor) -> bool:
    """Whether neighboring entries resemble each other, so that vectors are series."""
    return float((x[:, 1:] - x[:, :-1]).abs().mean()) < 0.8 * float(x.std(0).mean())


def lines(x: Tensor, file: Path, beside: Tensor | None = None) -> Path:
    """Series ``(N, T)`` as lines, those of the data in a panel of their own."""
    groups = {"samples": x} | ({} if beside is None else {"data": beside})
    figure, axes = new_figure(4.5 * len(groups), 3.2, columns=len(groups))
    for axis, (name, series) in zip(axes[0], groups.items(), strict=True):
        axis.plot(series[:20].T.numpy(), linewidth=0.8, alpha=0.7)
        axis.set(title=name, xlabel="step", ylim=limits(groups.get("data", x).reshape(-1, 1), 0))
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
