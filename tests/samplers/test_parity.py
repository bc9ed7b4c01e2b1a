"""Chains of published code, as formulas in plain float64 tensors."""

from __future__ import annotations

import torch

from ebm_cli.energies import Energy
from ebm_cli.energies import box as box_of
from ebm_cli.samplers import Langevin


class Wavy(Energy):
    """Something smooth and steep enough for clips and borders to bite."""

    def __init__(self):
        super().__init__((3, 4, 4), box_of(-1.0, 1.0))
        self.register_buffer("w", torch.randn(48, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64))

    def forward(self, x):
        return (2 * torch.sin(x.flatten(1) @ self.w)).sum(1)


def start():
    return 2 * torch.rand(20, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1


def gradient(energy, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(energy(x).sum(), x)[0]


def test_the_steps_of_jempp_without_its_inner_loop():
    """train_jempp.py, sample_q with in_steps = 0: clamp(x + clamp(grad f, -eps, eps) lr, -1, 1), f = -E, eps = 1."""
    energy, x = Wavy(), start()
    chain = Langevin(n_steps=10, step_size=1.0, noise_std=0.0, grad_clip=1.0, boundary="clamp")
    found = chain.sample(energy, x).x
    for _ in range(10):
        x = (x + (-gradient(energy, x)).clamp(-1, 1) * 1.0).clamp(-1, 1)
    assert float((found - x).abs().max()) < 1e-12
    assert float((found.abs() == 1).double().mean()) > 0.1  # the border bites


def test_the_steps_of_jem():
    """SGLD of JEM: x + lr grad f + std noise, lr 1, std .01, no clip and no border; the same noise."""
    energy, x = Wavy(), start()
    sampler = Langevin(n_steps=5, step_size=1.0, noise_std=0.01, noise_first=False)
    found = sampler.sample(energy, x, generator=torch.Generator().manual_seed(3)).x
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        noise = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        x = x - gradient(energy, x) + 0.01 * noise
    assert float((found - x).abs().max()) < 1e-12


def test_the_steps_of_igebm():
    """ebm_code_release: noise first, then clamp(x - lr grad E(x)), the noisy point itself left where it is."""
    energy, x = Wavy(), start()
    options = dict(noise_std=0.005, noise_first=True, clamp_noise=False, boundary="clamp")
    found = (
        Langevin(n_steps=5, step_size=10.0, **options).sample(energy, x, generator=torch.Generator().manual_seed(3)).x
    )
    generator = torch.Generator().manual_seed(3)
    for _ in range(5):
        x = x + 0.005 * torch.randn(x.shape, generator=generator, dtype=torch.float64)
        x = (x - 10.0 * gradient(energy, x)).clamp(-1, 1)
    assert float((found - x).abs().max()) < 1e-10  # steps of 10 magnify rounding
