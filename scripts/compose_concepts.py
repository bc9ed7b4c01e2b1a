"""Composes energies of single concepts on rendered shapes, and judges the pictures by their nearest neighbors.

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
from torch import Tensor

from ebm_cli.config import build
from ebm_cli.datasets import Shapes
from ebm_cli.runs.files import checkpoint_of, read_checkpoint
from ebm_cli.runs.find import find_run
from ebm_cli.runs.trained import TrainedModel, default_steps, energy_from
from ebm_cli.tasks import Compose
from ebm_cli.utils import plotting


def trained_model_of(path: str, seed: int) -> TrainedModel:
    """A run as ebm-sample sees it."""
    run = find_run(path)
    content = read_checkpoint(checkpoint_of(run))
    base, energy = energy_from(content)
    config = content["hyper_parameters"]["config"]
    n_steps, horizon = default_steps(config)
    return TrainedModel(
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


class Judge:
    """Tells attributes of a picture by the training picture nearest to it, and whether it is a shape at all.

    A classifier would give attributes to anything, and chains find the noise that it takes for a shape.

    Args:
        data: rendered shapes.

    Attributes:
        limit: distance of an empty picture from its nearest training picture; at that distance it is no shape.
        accuracy: on test pictures, per attribute.
    """

    def __init__(self, data: Shapes):
        self.seen, self.attributes = data.clean(data.part("train")[0]).flatten(1), data.attributes("train")
        self.limit = float(self.nearest(-torch.ones(1, self.seen.shape[1]))[0])
        nearest, truth = self.nearest(data.clean(data.part("test")[0]))[1], data.attributes("test")
        self.accuracy = {k: float((v[nearest] == truth[k]).float().mean()) for k, v in self.attributes.items()}

    def nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Distances to the nearest training pictures, and which they are, ``(N,)`` each."""
        parts = [torch.cdist(part, self.seen).min(1) for part in x.flatten(1).split(256)]
        return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])

    def hits(self, x: Tensor, right: Tensor) -> Tensor:
        """1 for pictures that are shapes with attributes that the table ``right`` ``(3, 4)`` allows, else 0."""
        distance, nearest = self.nearest(x)
        return right[self.attributes["shape"][nearest], self.attributes["position"][nearest]] * (distance < self.limit)


def compositions(shape_run: str, position_run: str):
    """What is asked for: kind, task, and a table ``(3, 4)`` of which shapes at which positions are right."""
    both = [shape_run, position_run]
    for s, p in itertools.product(range(3), range(4)):
        right, avoiding = torch.zeros(3, 4), torch.zeros(3, 4)
        right[s, p], avoiding[:, p], avoiding[s, p] = 1, 1, 0
        yield "product", Compose(runs=both, labels=[s, p]), right
        yield "shape alone", Compose(runs=[shape_run], labels=[s]), right
        yield "position alone", Compose(runs=[position_run], labels=[p]), right
        yield "negation", Compose(runs=both, labels=[s, p], weights=[-0.05, 1.0]), avoiding
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


def measure(shape_run: str, position_run: str, *, n: int, seed: int, judge: Judge) -> tuple[dict[str, float], dict]:
    """Share of right pictures per kind of composition, and the pictures, ``(N, 1, 16, 16)`` each."""
    model, hits, drawn = trained_model_of(shape_run, seed), {}, {}
    each = max(1, n // 12)
    for kind, task, right in compositions(shape_run, position_run):
        x = task(model, each).samples.x
        hits.setdefault(kind, []).append(judge.hits(x, right))
        drawn.setdefault(kind, []).append(x)
        if kind == "disjunction":
            hits.setdefault("disjunction, rarer one", []).append(rarer_share(x, right, judge))
    joined = {kind: torch.cat(found) for kind, found in drawn.items()}
    return {kind: float(torch.cat(found).mean()) for kind, found in hits.items()}, joined


def rarer_share(x: Tensor, right: Tensor, judge: Judge) -> Tensor:
    """Share ``(1,)`` of pictures at the less frequent one of the positions that ``right`` allows."""
    columns = [right * (torch.arange(4) == column) for column in right[0].nonzero()[:, 0]]
    return min(judge.hits(x, column).mean()[None] for column in columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape_run")
    parser.add_argument("position_run")
    parser.add_argument("--n", type=int, default=96, help="pictures per kind of composition")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder for a picture of each kind and concepts.json")
    options = parser.parse_args()
    judge = Judge(Shapes())
    found, drawn = measure(options.shape_run, options.position_run, n=options.n, seed=options.seed, judge=judge)
    for kind, share in found.items():
        print(f"{kind:24s} {share:.3f}   chance {CHANCE[kind]:.3f}")
    print("judge on test pictures: " + ", ".join(f"{name} {value:.3f}" for name, value in judge.accuracy.items()))
    if options.out:
        write(options.out, found, judge.accuracy, drawn)


def write(folder: Path, found: dict, accuracy: dict, drawn: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, x in drawn.items():
        plotting.grid(x, (-1, 1), folder / f"{kind.replace(', ', '_').replace(' ', '_')}.png", columns=len(x) // 12)
    content = {"accuracy": found, "chance": CHANCE, "judge": accuracy}
    (folder / "concepts.json").write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
