"""`python -m benchmarks [--short] [--bf16]`: every claim about speed, as a Markdown table."""

from __future__ import annotations

import sys

import torch

from benchmarks import cases
from benchmarks.cases import SHORT, Row, Size


def main(short: bool, precisions: list[str]) -> None:
    """Runs all cases on one thread and prints the table row by row."""
    torch.set_num_threads(1)
    size = SHORT if short else Size()
    print("| what | ratio: median [range] | bar | seconds |\n|---|---|---|---|")
    for row in rows(size, precisions):
        print(f"| {row.what} | {row.ratio} | {row.bar} | {row.ratio.slow:.4f} / {row.ratio.fast:.4f} |", flush=True)
    width = 8 if short else 128
    for precision in precisions:
        for chunk in (None, 4):
            used = cases.chain_memory(precision, chunk_size=chunk, width=width)
            print(
                f"| peak memory of a chain step, {precision}, chunks of {chunk or 16} | {used:.2f} MB per image | | |"
            )


def rows(size: Size, precisions: list[str]):
    """The rows of the table, as they are measured."""
    bars = {"float32": ("2.0", "1.4", "1.0", "1.1", "1.05"), "bfloat16": ("3.2", "2.2", "1.1", "2.2", "1.3")}
    for precision in precisions:
        unfrozen, frozen, floor, wide, tutorial = bars[precision]
        name = f"IGEBM iteration, B=8, K={size.k}, {precision}, over the loop that"
        yield Row(f"{name} does not freeze", cases.igebm_iteration(size, precision, frozen=False), f">= {unfrozen}")
        yield Row(f"{name} freezes", cases.igebm_iteration(size, precision, frozen=True), f">= {frozen}")
        yield Row(
            f"IGEBM step, B=32, {precision}, over the FLOP floor", cases.over_the_floor(size, precision), f"<= {floor}"
        )
        yield Row(
            f"WRN-28-10 step, B=8, {precision}, under JEM's loop", cases.wide_resnet_step(size, precision), f">= {wide}"
        )
        yield Row(
            f"tutorial CNN iteration, B=64, K={size.k}, {precision}, under the published step",
            cases.tutorial_iteration(size, precision),
            f">= {tutorial}",
        )
    for peer in cases.PEERS:
        for batch, bar in ((64, "1.5"), (1024, "1.15")):
            try:
                yield Row(
                    f"MLP 2-128-128-1, B={batch}, under {peer}", cases.small_chains(batch, size, peer), f">= {bar}"
                )
            except ImportError as error:
                print(f"| {peer}: not installed ({error}) | | | |")
    yield Row(f"buffer turn of 64, {size.buffer:,} entries over 10,000", cases.buffer_growth(size), "<= 4")


if __name__ == "__main__":
    main("--short" in sys.argv, ["float32"] + ["bfloat16"] * ("--bf16" in sys.argv))
