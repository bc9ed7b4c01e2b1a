"""A model as a classifier of grey images, and the attacks on it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ebm_cli.metrics.metric import Skip
from ebm_cli.runs.trained import TrainedModel

NORMS = {"linf": "Linf", "l2": "L2"}  # our names: those of AutoAttack


class Logits(nn.Module):
    """The classifier that a model is, on images in ``[0, 1]``: ``(B, C, H, W) -> (B, K)``."""

    def __init__(self, model: TrainedModel):
        super().__init__()
        self.energy, (self.low, self.high) = model.energy, model.data.value_range

    def forward(self, x: Tensor) -> Tensor:
        return -self.energy.class_energies(self.low + (self.high - self.low) * x)


@dataclass
class Attacked:
    """A classifier and the images that are attacked.

    Attributes:
        model: images in ``[0, 1]`` to logits.
        x: images ``(N, C, H, W)``.
        y: labels ``(N,)``.
        norm: ``linf`` or ``l2``.
        seed: of random starts.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    norm: str
    seed: int

    def first(self, n: int) -> Attacked:
        return Attacked(self.model, self.x[:n], self.y[:n], self.norm, self.seed)

    def survivors(self, epsilon: float, steps: int, restarts: int) -> Tensor:
        """1 for every image that no restart breaks, ``(N,)``."""
        import foolbox

        kind = foolbox.attacks.LinfPGD if self.norm == "linf" else foolbox.attacks.L2PGD
        attack = kind(steps=steps, rel_stepsize=2.5 / steps, random_start=True)
        model = foolbox.PyTorchModel(self.model.eval(), bounds=(0, 1), device=self.x.device)
        alive = torch.ones(len(self.x), dtype=torch.bool)
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(self.seed)
            for _ in range(restarts):
                alive &= ~attack(model, self.x, self.y, epsilons=epsilon)[2].cpu()
        return alive.double()

    def automatic(self, epsilon: float) -> Tensor:
        """1 for every image that all four attacks of AutoAttack leave right, ``(N,)``."""
        return self.run_autoattack(epsilon, {"version": "standard"})

    def square(self, epsilon: float, queries: int = 1000) -> Tensor:
        """The same under Square alone, which sees no gradient."""
        return self.run_autoattack(epsilon, {"version": "custom", "attacks": ["square"]}, queries)

    def run_autoattack(self, epsilon: float, which: dict, queries: int = 5000) -> Tensor:
        from pyautoattack import AutoAttack

        logging.getLogger("auto-attack").setLevel(logging.WARNING)
        if self.zero_gradients() == 1 and which["version"] == "standard":
            raise Skip("all gradients are zero: AutoAttack's white-box part has nothing to follow")
        attack = AutoAttack(
            self.model, norm=NORMS[self.norm], eps=epsilon, seed=self.seed, device=self.x.device, **which
        )
        targets = min(9, self.model(self.x[:1]).shape[1] - 1)
        attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targets
        attack.square.n_queries = queries
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(self.seed)
            labels = attack.run_standard_evaluation(self.x, self.y, batch_size=250)[1]
        return (labels == self.y).double()

    def zero_gradients(self) -> float:
        """Share of images at which the loss has no gradient at all."""
        with torch.enable_grad():
            x = self.x.clone().requires_grad_()
            (grad,) = torch.autograd.grad(cross_entropy(self.model(x), self.y, reduction="sum"), x)
        return float((grad.flatten(1).abs().amax(1) == 0).double().mean())
