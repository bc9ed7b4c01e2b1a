"""A generative adversarial network (Goodfellow et al. 2014) with the R1 penalty (Mescheder et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm_cli.baselines.baseline import Baseline, mlp


class GAN(Baseline):
    """Non-saturating losses of two MLPs; samples come from an average of the generator's weights.

    Args:
        dim: number of entries of one input.
        width: of the hidden layers.
        latent: number of latent variables.
        r1: weight of the squared gradient of the critic at the data.
        average: decay of the weight average.
    """

    steps = 4000

    def __init__(self, dim: int, width: int = 256, latent: int = 16, r1: float = 0.3, average: float = 0.999):
        super().__init__(dim, width)
        self.latent, self.r1 = latent, r1
        self.generator, self.critic = mlp(latent, width, width, dim), mlp(dim, width, width, 1)
        decay = torch.optim.swa_utils.get_ema_multi_avg_fn(average)
        self.averaged = torch.optim.swa_utils.AveragedModel(self.generator, multi_avg_fn=decay)

    def fit(self, batches, steps: int) -> None:
        sides = [
            torch.optim.Adam(part.parameters(), lr=5e-4, betas=(0.0, 0.99)) for part in (self.critic, self.generator)
        ]
        for _ in range(steps):
            for optimizer, loss in zip(sides, (self.critic_loss, self.generator_loss), strict=True):
                optimizer.zero_grad()
                loss(batches()).backward()
                optimizer.step()
            self.averaged.update_parameters(self.generator)
        self.eval().requires_grad_(False)

    def critic_loss(self, x: Tensor) -> Tensor:
        fake = self.generator(torch.randn(len(x), self.latent)).detach()
        x = x.requires_grad_()
        real = self.critic(x)
        (grad,) = torch.autograd.grad(real.sum(), x, create_graph=True)
        penalty = 0.5 * self.r1 * grad.square().sum(1).mean()
        return softplus(self.critic(fake)).mean() + softplus(-real).mean() + penalty

    def generator_loss(self, x: Tensor) -> Tensor:
        return softplus(-self.critic(self.generator(torch.randn(len(x), self.latent)))).mean()

    def sample(self, n: int) -> Tensor:
        return self.averaged(torch.randn(n, self.latent))
