"""One chain step of IGEBM's network and its memory: `python -m benchmarks.memory PRECISION B CHUNK WIDTH`."""

from __future__ import annotations

import sys

import torch

from benchmarks.cases import IGEBM, Size, igebm_network, peak, restart_peak
from ebm_cli.overrides.frozen import FrozenCopies
from ebm_cli.samplers import Langevin


def main(precision: str, batch: str, chunk: str, width: str) -> None:
    """Prints the growth of the process's peak memory in MB per image; a first step on one image warms up."""
    torch.set_num_threads(1)
    network = igebm_network(Size(width=int(width)))
    sampler = Langevin(n_steps=2, noise_first=True, boundary="clamp", chunk_size=int(chunk) or None, **IGEBM)
    view = FrozenCopies(precision, channels_last=True)
    one, x = torch.rand(1, 3, 32, 32), torch.rand(int(batch), 3, 32, 32)
    sampler.sample(view.of(network, one), one)
    before = restart_peak()
    sampler.sample(view.of(network, x), x)
    print((peak() - before) / int(batch))


if __name__ == "__main__":
    main(*sys.argv[1:])
