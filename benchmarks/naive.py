"""The loops that published code runs, re-created from its description: what ours is compared with.

None of this is used by ebm-cli.
"""

from __future__ import annotations

import torch


def noisy_ascent(network, x, n_steps: int, step_size: float, noise_std: float, grad_clip: float | None, frozen: bool):
    """Langevin steps by ``.backward()``, noise first, as in igebm-pytorch.

    With ``frozen=False`` parameters want gradients all along and spectral norms are computed, and advanced, at every
    forward pass: the parameter generator that was to freeze them has been used up by the optimizer.
    """
    network.train(not frozen)
    for p in network.parameters():
        p.requires_grad_(not frozen)
    x = x.detach().clone().requires_grad_()
    noise = torch.empty_like(x)
    for _ in range(n_steps):
        noise.normal_(0, noise_std)
        x.data.add_(noise)
        network(x).sum().backward()
        if grad_clip is not None:
            x.grad.data.clamp_(-grad_clip, grad_clip)
        x.data.add_(x.grad.data, alpha=-step_size)
        x.grad.detach_()
        x.grad.zero_()
        x.data.clamp_(0, 1)
    for p in network.parameters():
        p.requires_grad_(True)
    network.train()
    network.zero_grad()
    return x.detach()


def retained_steps(network, x, n_steps: int, step_size: float, noise_std: float):
    """Langevin steps by ``autograd.grad`` with ``retain_graph=True`` and parameters that want gradients, as in JEM."""
    x = x.detach().clone().requires_grad_()
    for _ in range(n_steps):
        (grad,) = torch.autograd.grad(network(x).sum(), [x], retain_graph=True)
        x.data += -step_size * grad + noise_std * torch.randn_like(x)
    return x.detach()


def tutorial_steps(network, x, n_steps: int, step_size: float, noise_std: float, grad_clip: float):
    """The sampler of the UvA tutorial: parameters frozen, ``.backward()``, two clamps."""
    training = network.training
    network.eval()
    for p in network.parameters():
        p.requires_grad_(False)
    x = x.detach().clone().requires_grad_()
    noise = torch.randn(x.shape)
    for _ in range(n_steps):
        noise.normal_(0, noise_std)
        x.data.add_(noise)
        x.data.clamp_(-1, 1)
        network(x).sum().backward()
        x.grad.data.clamp_(-grad_clip, grad_clip)
        x.data.add_(x.grad.data, alpha=-step_size)
        x.grad.detach_()
        x.grad.zero_()
        x.data.clamp_(-1, 1)
    for p in network.parameters():
        p.requires_grad_(True)
    network.train(training)
    return x.detach()


def update(network, optimizer, data, negatives, energy_l2: float):
    """One contrastive update: data and negatives in two forward passes."""
    optimizer.zero_grad()
    positive, negative = network(data), network(negatives)
    loss = positive.mean() - negative.mean() + energy_l2 * (positive.square() + negative.square()).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()


class ListBuffer:
    """A Python list of single images, as in the tutorial: drawn by index, the newest in front, the oldest cut off."""

    def __init__(self, images, size: int):
        self.images, self.size = list(images.split(1)), size

    def turn(self, move, n: int):
        x = torch.cat([self.images[i] for i in torch.randint(len(self.images), (n,)).tolist()])
        self.images = (list(move(x).split(1)) + self.images)[: self.size]
