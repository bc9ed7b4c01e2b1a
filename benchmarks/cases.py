"""What is timed: each case gives rows of the table, a ratio with the bar that it has to pass."""

from __future__ import annotations

import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import naive
from benchmarks.pairs import Ratio, compare, seconds
from ebm_cli.buffers import Entries, ReplayBuffer
from ebm_cli.buffers.negatives import Negatives
from ebm_cli.energies import UniformBox, box
from ebm_cli.models import MLP, ConvNet, ResNet, WideResNet
from ebm_cli.models.pooling import ConvPool
from ebm_cli.objectives import ContrastiveDivergence
from ebm_cli.overrides.frozen import FrozenCopies
from ebm_cli.samplers import Langevin


@dataclass
class Row:
    """One line of the table: what was compared, the ratio, and the bar (at least, or at most, so much)."""

    what: str
    ratio: Ratio
    bar: str


@dataclass
class Size:
    """How much is run: the full table, or a short form that only shows that nothing crashes."""

    rounds: int = 5
    k: int = 20
    width: int = 128
    wide: tuple[int, int] = (28, 10)
    buffer: int = 1_000_000
    side: int = 32


SHORT = Size(rounds=1, k=2, width=8, wide=(10, 1), buffer=10_000, side=16)
IGEBM = {"step_size": 10.0, "noise_std": 0.005, "grad_clip": 0.01}


def igebm_network(size: Size) -> ResNet:
    """IGEBM's network for CIFAR-10, its second convolutions away from their 1e-10 start."""
    torch.manual_seed(0)
    network = ResNet((3, size.side, size.side), width=size.width, support=box(0, 1)).train()
    for block in network.blocks:
        conv = getattr(block.conv2, "conv", block.conv2)
        conv.parametrizations.weight.original.data.normal_(std=0.02)
    return network


def as_written(network: torch.nn.Module) -> torch.nn.Module:
    """The network with every pooling after its convolution, as published code has it; ours folds the two together."""
    for name, module in list(network.named_modules()):
        if isinstance(module, ConvPool):
            network.set_submodule(name, torch.nn.Sequential(module.conv, torch.nn.AvgPool2d(2)))
    return network


def our_chains(network, sampler: Langevin, x, precision: str) -> Negatives:
    """Chains as training has them, their buffer filled with ``x``."""
    buffer = ReplayBuffer(size=len(x), restart_probability=0.0)
    chains = Negatives(
        sampler, buffer, UniformBox(x.shape[1:], low=0.0, high=1.0), None, frozen=FrozenCopies(precision)
    )
    buffer.fill(x, torch.full((len(x),), -1))
    return chains


class Batch:
    """A batch of data as objectives take it."""

    def __init__(self, x):
        self.x, self.y = x, None


def our_iteration(network, sampler: Langevin, data, precision: str):
    """A training iteration of ebm-train without its Trainer: chains, loss, backward, clip, update."""
    chains = our_chains(network, sampler, torch.rand_like(data), precision)
    objective = ContrastiveDivergence(energy_l2=1.0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)

    def iterate():
        optimizer.zero_grad()
        objective(network, Batch(data), chains).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()

    return iterate


def igebm_iteration(size: Size, precision: str, frozen: bool) -> Ratio:
    """A training iteration of IGEBM's network at B=8 over the naive loop of equal work."""
    x, network = torch.rand(8, 3, size.side, size.side), igebm_network(size)
    other = as_written(igebm_network(size))
    optimizer = torch.optim.Adam(other.parameters(), lr=1e-4)
    sampler = Langevin(n_steps=size.k, noise_first=True, boundary="clamp", **IGEBM)

    def published():
        start = torch.rand_like(x)
        naive.update(other, optimizer, x, naive.noisy_ascent(other, start, size.k, frozen=frozen, **IGEBM), 1.0)

    return compare(published, our_iteration(network, sampler, x, precision), max(1, size.rounds // 2))


def over_the_floor(size: Size, precision: str, batch: int = 32) -> Ratio:
    """One Langevin step of IGEBM's network over the time that its multiplications alone would take.

    The floor is the FLOPs of the network as it is written, forward and backward to the input, over the best rate that a
    3x3 convolution of its widths reaches in the same run.
    """
    network = igebm_network(size).eval()
    x = torch.rand(batch, 3, size.side, size.side)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        as_written(igebm_network(size)).eval()(x)
    flops = 2 * counter.get_total_flops()  # the gradient with respect to the input costs what the forward pass does
    sampler, view = Langevin(n_steps=1, noise_first=True, boundary="clamp", **IGEBM), FrozenCopies(precision)
    step = lambda: sampler.sample(view.of(network, x), x)  # noqa: E731
    step()
    pairs = []
    for _ in range(max(2, size.rounds)):
        pairs.append((seconds(step, 1), flops / best_rate(precision, size)))
    ratios = sorted(a / b for a, b in pairs)
    medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
    return Ratio(statistics.median(ratios), ratios[0], ratios[-1], *medians)


def best_rate(precision: str, size: Size) -> float:
    """FLOPs per second of the fastest 3x3 convolution among the widths and memory formats of the network."""
    rates = []
    for channels, side in ((size.width, size.side), (2 * size.width, size.side // 2)):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            dtype = getattr(torch, precision)
            conv = torch.nn.Conv2d(channels, channels, 3, padding=1).to(dtype, memory_format=memory_format)
            x = torch.rand(8, channels, side, side, dtype=dtype).to(memory_format=memory_format)
            flops = 2 * 9 * channels**2 * side**2 * 8
            with torch.no_grad():
                conv(x)
                rates.append(max(flops / seconds(lambda conv=conv, x=x: conv(x), 2) for _ in range(2)))
    return max(rates)


def wide_resnet_step(size: Size, precision: str) -> Ratio:
    """Four Langevin steps of JEM's network at B=8, the copy refreshed before them, over JEM's own loop."""
    (depth, width), n_steps = size.wide, min(4, size.k)
    network = WideResNet((3, size.side, size.side), depth=depth, width=width, n_classes=10, joint=True)
    x, view = torch.rand(8, 3, size.side, size.side) * 2 - 1, FrozenCopies(precision)
    sampler = Langevin(n_steps=n_steps, step_size=1.0, noise_std=0.01)
    return compare(
        lambda: naive.retained_steps(network, x, n_steps, 1.0, 0.01),
        lambda: sampler.sample(view.of(network, x), x),
        max(1, size.rounds // 2),
    )


def tutorial_iteration(size: Size, precision: str) -> Ratio:
    """A training iteration of the UvA tutorial's network on 28x28, B=64, over its published step."""
    data, networks = torch.rand(64, 1, 28, 28) * 2 - 1, [ConvNet((1, 28, 28), support=box(-1, 1)) for _ in range(2)]
    optimizer = torch.optim.Adam(networks[1].parameters(), lr=1e-4)
    options = {"step_size": 10.0, "noise_std": 0.005, "grad_clip": 0.03}
    sampler = Langevin(n_steps=size.k, noise_first=True, boundary="clamp", **options)
    kept = naive.ListBuffer(torch.rand(8192, 1, 28, 28) * 2 - 1, 8192)

    def published():
        moved = []
        kept.turn(lambda x: moved.append(naive.tutorial_steps(networks[1], x, size.k, **options)) or moved[0], 64)
        naive.update(networks[1], optimizer, data, moved[0], 0.1)

    return compare(published, our_iteration(networks[0], sampler, data, precision), size.rounds)


def small_chains(batch: int, size: Size, peer: str) -> Ratio:
    """100 steps of an MLP 2-128-128-1 over a peer's Langevin sampler (torchebm, ebmkit), by their packages.

    Raises:
        ImportError: where the peer is not installed.
    """
    network, x = MLP((2,), hidden=[128, 128]), torch.randn(batch, 2)
    sampler = Langevin(n_steps=100, step_size=0.01)
    copies, calls = FrozenCopies(), 1 if size.rounds == 1 else 3
    ours = lambda: sampler.sample(copies.of(network, x), x)  # noqa: E731
    return compare(PEERS[peer](network, x), ours, 3 * size.rounds, calls=calls)


def torchebm(network, x):
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Model(BaseModel):
        def __init__(self):
            super().__init__()
            self.layers = network.layers

        def forward(self, x):
            return self.layers(x).squeeze(-1)

    sampler = LangevinDynamics(Model(), step_size=0.01)
    return lambda: sampler.sample(x=x, n_steps=100)


def ebmkit(network, x):
    from ebm.samplers import LangevinDynamics

    sampler = LangevinDynamics(step_size=0.01, steps=100)
    energy = lambda x: network.layers(x).squeeze(-1)  # noqa: E731
    return lambda: sampler.sample(energy, x)


PEERS = {"torchebm": torchebm, "ebmkit": ebmkit}


def buffer_growth(size: Size) -> Ratio:
    """A draw and a write of 64 chains in a large buffer over the same in one of 10,000."""
    return compare(buffer_turn(size.buffer), buffer_turn(10_000), 3 * size.rounds, calls=100)


def buffer_turn(entries: int):
    """A draw of 64 chains from a buffer of so many, and their write."""
    buffer, source = ReplayBuffer(size=entries), SimpleNamespace(generator=torch.Generator().manual_seed(0))
    buffer.fill(torch.zeros(entries, 3, 8, 8), torch.zeros(entries, dtype=torch.long))

    def turn():
        index, drawn = buffer.pick(64, source.generator)
        buffer.write(index, Entries(drawn.x + 1, drawn.y, drawn.age + 1), source)

    return turn


def chain_memory(precision: str, batch: int = 16, chunk_size: int | None = None, width: int = 128) -> float:
    """Peak memory of one chain step of IGEBM's network in MB per image, measured in a process of its own."""
    words = [precision, str(batch), str(chunk_size or 0), str(width)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", *words], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def restart_peak() -> float:
    """Sets the kernel's record of this process's peak memory back to what is in use, which is returned in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """Peak resident memory of this process in MB since ``restart_peak``; Linux only."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
