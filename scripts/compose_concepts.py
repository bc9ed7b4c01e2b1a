"""Composes energies of single concepts on rendered shapes, and judges the pictures by attribute classifiers.

    python scripts/compose_concepts.py SHAPE_RUN POSITION_RUN [--n 96] [--seed 0] [--out FOLDER]

The runs are those of experiment=shapes_concept with dataset.concept=shape and =position, each trained on the labels of
its own concept alone:

    for concept in shape position; do ebm-train experiment=shapes_concept dataset.concept=$concept name=$concept; done

Prints, with chance beside it, how often both attributes are right for the product of the two energies and for each
energy alone, how often a negation (this position, not that shape) is kept, by the composition and by the position's
energy alone, how often a disjunction (this or that position) is kept, and the share of the rarer one in it.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from ebm_cli import pictures
from ebm_cli.config import build
from ebm_cli.datasets import CONCEPTS, Shapes
from ebm_cli.models import ConvNet
from ebm_cli.run import Subject, checkpoint_of, default_steps, energy_from, find_run, read_checkpoint
from ebm_cli.tasks import Compose


def subject_of(path: str, seed: int) -> Subject:
    """A run as ebm-sample sees it."""
    run = find_run(path)
    content = read_checkpoint(checkpoint_of(run))
    base, energy = energy_from(content)
    config = content["hyper_parameters"]["config"]
    n_steps, horizon = default_steps(config)
    return Subject(
        energy=energy,
        base=base,
        sampler=build(config["sampler"], "sampler"),
        data=build(config["dataset"], "dataset", seed=seed),
        n_steps=n_steps,
        horizon=horizon,
        seed=seed,
        num_samples=0,
        directory=run,
        config=config,
    )


def train_judge(x: Tensor, y: Tensor, n_classes: int, steps: int = 600) -> nn.Module:
    """A small CNN that tells one attribute, trained on noisy pictures so that it stands blemishes."""
    layers = {"channels": [16, 32, 32], "kernels": [3, 3, 3], "strides": [1, 2, 2], "paddings": [1, 1, 1]}
    judge = ConvNet(x.shape[1:], **layers, n_classes=n_classes, joint=True)
    optimizer = torch.optim.Adam(judge.parameters(), lr=2e-3)
    for _ in range(steps):
        index = torch.randint(len(x), (128,))
        seen = x[index] + 0.2 * torch.rand(128, 1, 1, 1) * torch.randn_like(x[index])
        loss = nn.functional.cross_entropy(judge.outputs(seen), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return judge.eval().requires_grad_(False)


def train_judges(data: Shapes, names=("shape", "position")) -> tuple[dict[str, nn.Module], dict[str, float]]:
    """A judge per attribute, and its accuracy on test pictures."""
    judges, accuracy = {}, {}
    x, test = data.clean(data.part("train")[0]), data.clean(data.part("test")[0])
    for name in names:
        judges[name] = train_judge(x, data.attributes("train")[name], CONCEPTS[name])
        found = judges[name].outputs(test).argmax(1)
        accuracy[name] = float((found == data.attributes("test")[name]).float().mean())
    return judges, accuracy


def compositions(shape_run: str, position_run: str):
    """What is asked for: kind, task, and a table ``(3, 4)`` of which shapes at which positions are right."""
    both = [shape_run, position_run]
    for s, p in itertools.product(range(3), range(4)):
        right, avoiding = torch.zeros(3, 4), torch.zeros(3, 4)
        right[s, p], avoiding[:, p], avoiding[s, p] = 1, 1, 0
        yield "product", Compose(runs=both, labels=[s, p]), right
        yield "shape alone", Compose(runs=[shape_run], labels=[s]), right
        yield "position alone", Compose(runs=[position_run], labels=[p]), right
        yield "negation", Compose(runs=both, labels=[s, p], weights=[-0.3, 1.0]), avoiding
        yield "negation, position alone", Compose(runs=[position_run], labels=[p]), avoiding
    for p in range(4):
        either, other = torch.zeros(3, 4), (p + 1) % 4
        either[:, [p, other]] = 1
        yield "disjunction", Compose(runs=[position_run] * 2, labels=[p, other], mode="mixture"), either


CHANCE = {
    "product": 1 / 12,
    "shape alone": 1 / 12,
    "position alone": 1 / 12,
    "negation": 2 / 12,
    "negation, position alone": 2 / 12,
    "disjunction": 1 / 2,
    "disjunction, rarer one": 1 / 4,
}


def measure(shape_run: str, position_run: str, *, n: int, seed: int, judges: dict) -> tuple[dict[str, float], dict]:
    """Share of right pictures per kind of composition, and the pictures, ``(N, 1, 16, 16)`` each."""
    subject, hits, drawn = subject_of(shape_run, seed), {}, {}
    each = max(1, n // 12)
    for kind, task, right in compositions(shape_run, position_run):
        x = task(subject, each).samples.x
        shape, position = (judges[name].outputs(x).argmax(1) for name in ("shape", "position"))
        hits.setdefault(kind, []).append(right[shape, position])
        drawn.setdefault(kind, []).append(x)
        if kind == "disjunction":
            hits.setdefault("disjunction, rarer one", []).append(rarer_share(position, right[0]))
    joined = {kind: torch.cat(found) for kind, found in drawn.items()}
    return {kind: float(torch.cat(found).mean()) for kind, found in hits.items()}, joined


def rarer_share(position: Tensor, wanted: Tensor) -> Tensor:
    """Share ``(1,)`` of pictures at the less frequent one of the positions that ``wanted`` ``(4,)`` marks."""
    return torch.bincount(position, minlength=len(wanted))[wanted > 0].min()[None] / len(position)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape_run")
    parser.add_argument("position_run")
    parser.add_argument("--n", type=int, default=96, help="pictures per kind of composition")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for a picture of each kind and concepts.json")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    judges, accuracy = train_judges(Shapes())
    found, drawn = measure(options.shape_run, options.position_run, n=options.n, seed=options.seed, judges=judges)
    for kind, share in found.items():
        print(f"{kind:24s} {share:.3f}   chance {CHANCE[kind]:.3f}")
    print("judges on test pictures: " + ", ".join(f"{name} {value:.3f}" for name, value in accuracy.items()))
    if options.out:
        write(options.out, found, accuracy, drawn)


def write(folder: Path, found: dict, accuracy: dict, drawn: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, x in drawn.items():
        pictures.grid(x, (-1, 1), folder / f"{kind.replace(', ', '_').replace(' ', '_')}.png", columns=len(x) // 12)
    content = {"accuracy": found, "chance": CHANCE, "judges": accuracy}
    (folder / "concepts.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
