"""From one input toward another: interpolation, and translation to another class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ebm_cli.config import ConfigError
from ebm_cli.energies.energy import energies, needs_labels
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.tasks.inputs import examples
from ebm_cli.tasks.restore import SHOWN, check_positive, measured, unchanged
from ebm_cli.tasks.task import Result, Task, class_numbers, run_chains


@dataclass(kw_only=True, eq=False)
class Interpolate(Task):
    """Straight lines between pairs of inputs, relaxed: ``E(x) + |x - line|^2 / (2 s^2)``, from the line on.

    ``num_samples`` counts points on the lines; each row of the grid is one line, its ends the inputs themselves.

    Args:
        frames: points per line, ends included.
        noise_std: s, how far a point may leave its line, in the units of the data.
        input: ``test``, or a folder of images; neighbors in it are paired.
    """

    frames: int = 8
    noise_std: float = 0.4
    input: str = "test"

    def __post_init__(self):
        super().__post_init__()
        if self.frames < 3:
            raise ValueError(f"frames must be at least 3, got {self.frames}")
        check_positive("noise_std", self.noise_std)

    def __call__(self, model: TrainedModel, n: int) -> Result:
        if needs_labels(model.energy):
            raise ConfigError("task=interpolate: points between two classes have no label; use a joint or free model")
        line, ends = self.lines(model, n)
        energy = measured(model, model.energy, unchanged, line, self.noise_std)
        samples, recorder = run_chains(model, energy, len(line), start=line, laws=torch.arange(len(line)))
        samples.x = torch.where(per_input(ends, samples.x), line.cpu(), samples.x)
        height = {"line": line, "relaxed": samples.x.to(model.device)}
        barriers = {k: barrier(energies(model.energy, x).view(-1, self.frames)) for k, x in height.items()}
        panels = {"line": line[: self.frames].cpu(), "relaxed": samples.x[: self.frames]}
        figures = {f"barrier/{name}": value for name, value in barriers.items()}
        return Result(samples, recorder, columns=self.frames, figures=figures, panels=panels)

    def lines(self, model: TrainedModel, n: int) -> tuple[Tensor, Tensor]:
        """Points on all lines, ``(pairs * frames, *shape)``, and which of them are ends."""
        x, _ = examples(model, self.input, 2 * max(1, n // self.frames))
        if len(x) < 2:
            raise ConfigError(f"task.input={self.input}: one image is no pair; interpolation needs two or more")
        first, second = x[: len(x) // 2], x[len(x) // 2 : 2 * (len(x) // 2)]
        share = torch.linspace(0, 1, self.frames, device=x.device).view(1, -1, *[1] * (x.ndim - 1))
        points = (1 - share) * first[:, None] + share * second[:, None]
        place = torch.arange(self.frames).repeat(len(first))
        return points.flatten(0, 1), (place == 0) | (place == self.frames - 1)


def per_input(flags: Tensor, x: Tensor) -> Tensor:
    """``flags`` ``(B,)`` in a shape that broadcasts with ``x`` ``(B, *shape)``."""
    return flags.view(-1, *[1] * (x.ndim - 1))


def barrier(heights: Tensor) -> float:
    """Mean over lines ``(lines, frames)`` of how far energies rise above the higher end.

    Example:
        >>> barrier(torch.tensor([[0.0, 5.0, 1.0], [2.0, 1.0, 0.0]]))
        2.0
    """
    return float((heights.max(1).values - torch.maximum(heights[:, 0], heights[:, -1])).mean())


@dataclass(kw_only=True, eq=False)
class Translate(Task):
    """Inputs carried to another class: ``E(x | y) + |x - input|^2 / (2 s^2)``, from the input on.

    Args:
        target: class by number or by name; null takes the class after each input's own.
        noise_std: s, how far an entry may move, in the units of the data.
        input: ``test``, or a folder of images.
    """

    target: int | str | None = None
    noise_std: float = 0.5
    input: str = "test"

    def __post_init__(self):
        super().__post_init__()
        check_positive("noise_std", self.noise_std)

    def __call__(self, model: TrainedModel, n: int) -> Result:
        x, y = examples(model, self.input, n)
        target = self.targets(model, len(x), y)
        energy = measured(model, model.energy.given(y=target.to(x.device)), unchanged, x, self.noise_std)
        samples, recorder = run_chains(model, energy, len(x), start=x, laws=torch.arange(len(x)))
        samples.y = target
        there = {"before": x, "after": samples.x.to(x.device)}
        figures = {f"share_in_target/{name}": share_in(model, place, target) for name, place in there.items()}
        moved = (samples.x - x.cpu()).square().mean().sqrt()
        title = "next class" if self.target is None else f"class {self.target}"
        panels = {"input": x[:SHOWN].cpu(), title: samples.x[:SHOWN]}
        return Result(samples, recorder, figures=figures | {"moved_rms": float(moved)}, panels=panels)

    def targets(self, model: TrainedModel, n: int, y: Tensor | None) -> Tensor:
        """The class that each input is carried to, ``(n,)``."""
        if self.target is not None:
            return torch.tensor(class_numbers(model, [self.target], "task.target")).repeat(n)
        class_numbers(model, [], "task=translate")
        if y is None:
            raise ConfigError("task.target=null: these inputs have no labels to go on from; name a class")
        return (y + 1) % model.energy.n_classes


def share_in(model: TrainedModel, x: Tensor, target: Tensor) -> float:
    """Share of inputs that the model itself puts in their target class."""
    found = model.energy.class_energies(x).argmin(1).cpu()
    return float((found == target).float().mean())
