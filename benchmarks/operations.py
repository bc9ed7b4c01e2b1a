"""Where the time of an iteration of IGEBM's network goes: `python -m benchmarks.operations [--bf16]`."""

from __future__ import annotations

import sys

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.cases import IGEBM, SHORT, Size, igebm_network, our_iteration
from ebm_cli.samplers import Langevin

KINDS = {  # parts of the names of operators; the first kind that fits counts
    "convolutions forward": ("mkldnn_convolution", "slow_conv"),
    "convolutions backward": ("convolution_backward",),
    "Winograd's products": ("bmm",),
    "activations": ("leaky_relu", "relu", "threshold"),
    "pooling": ("avg_pool",),
    "noise": ("normal_",),
    "optimizer and clipping": ("fused_adam", "foreach", "norm"),
    "sums, differences, copies (biases, shortcuts, Winograd's transforms)": ("",),
}


def shares(size: Size, precision: str) -> dict[str, float]:
    """Share of processor time by kind of operator, of one iteration after one that warms up."""
    sampler = Langevin(n_steps=size.k, noise_first=True, boundary="clamp", **IGEBM)
    iterate = our_iteration(igebm_network(size), sampler, torch.rand(8, 3, size.side, size.side), precision)
    iterate()
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        iterate()
    spent = dict.fromkeys(KINDS, 0.0)
    for event in measured.key_averages():
        kind = next(kind for kind, parts in KINDS.items() if any(part in event.key for part in parts))
        spent[kind] += event.self_cpu_time_total
    return {kind: value / sum(spent.values()) for kind, value in spent.items()}


def main(size: Size, precision: str) -> None:
    torch.set_num_threads(1)
    for kind, share in sorted(shares(size, precision).items(), key=lambda item: -item[1]):
        print(f"| {kind} | {100 * share:.1f} % |")


if __name__ == "__main__":
    main(SHORT if "--short" in sys.argv else Size(), "bfloat16" if "--bf16" in sys.argv else "float32")
