"""Several runs as one model: products, negations and mixtures of what they have learned."""

from __future__ import annotations

import torch

from ebm_cli.config import ConfigError, build
from ebm_cli.config.launch import find_run
from ebm_cli.energies import Energy, Mixture, Product, Tempered
from ebm_cli.energies.energy import needs_labels
from ebm_cli.runs.files import read_config
from ebm_cli.runs.trained import TrainedModel, load_energy
from ebm_cli.samplers.diagnostics import effective_temperature
from ebm_cli.tasks.task import Result, Task, run_chains


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

    def __init__(
        self,
        *,
        runs: list,
        weights: list | None = None,
        mode: str = "product",
        labels: list | None = None,
    ):
        if mode not in ("product", "mixture"):
            raise ValueError(f"mode must be product or mixture, got {mode!r}")
        if not runs or isinstance(runs, str):  # a mandatory key that nobody gave is a string
            raise ValueError("runs must name at least one run: task.runs=[a,b]")
        for key, values in (("weights", weights), ("labels", labels)):
            if values is not None and len(values) != len(runs):
                raise ValueError(f"{key} must be one per run: {len(runs)} runs, {len(values)} {key}")
        self.runs, self.mode = runs, mode
        self.weights, self.labels = weights or [1.0] * len(runs), labels or [None] * len(runs)

    def __call__(self, subject: TrainedModel, n: int) -> Result:
        parts = [self.part(subject, *pair, n) for pair in zip(self.runs, self.labels, strict=True)]
        kind = {"product": Product, "mixture": Mixture}[self.mode]
        try:
            composed = kind(parts, self.weights)
        except ValueError as error:
            raise ConfigError(f"task.weights={self.weights}: {error}") from error
        energy = Tempered(composed, 1 / effective_temperature(subject.sampler))
        return Result(run_chains(subject, energy, n), energy)

    def part(self, subject: TrainedModel, path: str, label: int | None, n: int) -> Energy:
        """One run's energy in units of its own temperature, under its label.

        Raises:
            ConfigError: for a run of another shape, or a label that it does not know.
        """
        energy = load_energy(path, subject.device)
        if energy.shape != tuple(subject.data.shape):
            raise ConfigError(
                f"task.runs: {path} has shape {energy.shape}, and {subject.data.name} {subject.data.shape}"
            )
        if label is None and needs_labels(energy):
            raise ConfigError(f"task.labels: {path} is class-conditional; name a class per run")
        if label is not None:
            if not energy.n_classes or label not in range(energy.n_classes):
                raise ConfigError(f"task.labels={label}: {path} knows {energy.n_classes or 'no'} classes")
            energy = energy.given(y=torch.full((n,), label, device=subject.device))
        sampler = build(read_config(find_run(path))["sampler"], "sampler")
        return Tempered(energy, effective_temperature(sampler))
