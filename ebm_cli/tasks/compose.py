"""Several runs as one model: products, negations and mixtures of what they have learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ebm_cli.config import ConfigError, build
from ebm_cli.energies import Energy, Mixture, Product, Tempered
from ebm_cli.energies.energy import needs_labels
from ebm_cli.runs.find import find_run, read_config
from ebm_cli.runs.trained import TrainedModel, load_energy
from ebm_cli.samplers.diagnostics import effective_temperature
from ebm_cli.tasks.task import Result, Task, run_chains


@dataclass(kw_only=True, eq=False)
class Compose(Task):
    """Chains from fresh noise on several energies at once (Du et al. 2020).

    Every run enters in units of the temperature that it was trained at, so that weights compare densities. A negative
    weight in a product avoids what that run likes.

    Args:
        runs: run directories; the first gives sampler, base and data where ``run=`` names none.
        weights: one per run; null is 1 for each.
        mode: ``product`` (all of them) or ``mixture`` (any of them; weights must be positive).
        labels: a class per run, by number, for runs that know classes; null leaves the classes open.
    """

    runs: list
    weights: list | None = None
    mode: str = "product"
    labels: list | None = None

    def __post_init__(self):
        super().__post_init__()
        runs = self.runs
        if self.mode not in ("product", "mixture"):
            raise ValueError(f"mode must be product or mixture, got {self.mode!r}")
        if not runs or isinstance(runs, str):  # a mandatory key that nobody gave is a string
            raise ValueError("runs must name at least one run: task.runs=[a,b]")
        for key, values in (("weights", self.weights), ("labels", self.labels)):
            if values is not None and len(values) != len(runs):
                raise ValueError(f"{key} must be one per run: {len(runs)} runs, {len(values)} {key}")
        self.weights, self.labels = self.weights or [1.0] * len(runs), self.labels or [None] * len(runs)

    def __call__(self, model: TrainedModel, n: int) -> Result:
        parts = [self.part(model, *pair, n) for pair in zip(self.runs, self.labels, strict=True)]
        kind = {"product": Product, "mixture": Mixture}[self.mode]
        try:
            composed = kind(parts, self.weights)
        except ValueError as error:
            raise ConfigError(f"task.weights={self.weights}: {error}") from error
        energy = Tempered(composed, 1 / effective_temperature(model.sampler))
        return Result(*run_chains(model, energy, n))  # every row under the same labels: one law

    def part(self, model: TrainedModel, path: str, label: int | None, n: int) -> Energy:
        """One run's energy in units of its own temperature, under its label.

        Raises:
            ConfigError: for a run of another shape, or a label that it does not know.
        """
        energy = load_energy(path, model.device)
        if energy.shape != tuple(model.data.shape):
            raise ConfigError(f"task.runs: {path} has shape {energy.shape}, and {model.data.name} {model.data.shape}")
        if label is None and needs_labels(energy):
            raise ConfigError(f"task.labels: {path} is class-conditional; name a class per run")
        if label is not None:
            if not energy.n_classes or label not in range(energy.n_classes):
                raise ConfigError(f"task.labels={label}: {path} knows {energy.n_classes or 'no'} classes")
            energy = energy.given(y=torch.full((n,), label, device=model.device))
        sampler = build(read_config(find_run(path))["sampler"], "sampler")
        return Tempered(energy, effective_temperature(sampler))
