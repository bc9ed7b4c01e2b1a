"""``python -m ebm_cli.baselines vae --dataset digits --directory DIR``: train a baseline, write samples and density."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from ebm_cli.baselines import GAN, VAE, Baseline, Budget, Flow, Gaussian
from ebm_cli.config import ConfigError, build, option_node
from ebm_cli.config.launch import explain
from ebm_cli.energies import Energy
from ebm_cli.metrics import Skip, Value, report
from ebm_cli.runs.files import write_npz
from ebm_cli.runs.trained import Samples, TrainedModel

KINDS = {"vae": VAE, "gan": GAN, "flow": Flow, "gaussian": Gaussian}


def main(argv: list[str] | None = None) -> None:
    """Trains, samples, and measures the density where it is exact and the truth is known."""
    options = parse_arguments(argv)
    try:
        torch.set_num_threads(1)
        torch.manual_seed(options.seed)
        data = build(
            option_node("dataset", options.dataset) | dict(parse_pairs(options.set)), "dataset", seed=options.seed
        )
        model, since = Fitted(KINDS[options.kind], data), time.process_time()
        updates = model.fit(Budget(options.steps or model.model.steps, options.cpu_time))
        write(options, data, model, time.process_time() - since, updates)
    except (ConfigError, ValueError, OSError) as error:
        sys.exit(f"ebm_cli.baselines: {explain(error)}")


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ebm_cli.baselines", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--dataset", required=True, help="option of the group dataset")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="keys of the data set")
    parser.add_argument("--seed", type=int, default=0)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=int, help="updates; default: the model's own")
    budget.add_argument("--cpu-time", type=float, metavar="SECONDS", help="of processor time to train for")
    parser.add_argument("--number", type=int, help="samples; default: as many as test examples")
    parser.add_argument("--directory", type=Path, required=True)
    return parser.parse_args(argv)


def parse_pairs(pairs: list[str]):
    """Pairs of ``key=value``, values read as YAML."""
    import yaml

    for pair in pairs:
        key, _, value = pair.partition("=")
        yield key, yaml.safe_load(value)


class Fitted(Energy):
    """A baseline on the data's own scale; its energy is ``-log p(x)``, so that log Z is 0.

    Args:
        kind: class of the baseline.
        data: the DataModule.
    """

    def __init__(self, kind: type[Baseline], data):
        super().__init__(data.shape, data.support)
        self.data = data
        train = data.split("train").x
        self.mean = train.mean(0)
        self.std = train.std() if len(data.shape) == 3 else train.std(0)
        self.model = kind(data.shape)

    def fit(self, budget: Budget) -> int:
        """Trains, and gives the number of updates."""
        generator = torch.Generator().manual_seed(torch.initial_seed())
        return self.model.fit(lambda: self.batch(generator), budget)

    def batch(self, generator: torch.Generator) -> Tensor:
        """Training examples with the data set's own noise, standardized."""
        x = self.data.draw(self.model.batch_size, generator)[0]
        x = x + self.data.noise_std * torch.randn(x.shape, generator=generator)
        return (x - self.mean) / self.std

    @torch.no_grad()
    def sample(self, n: int) -> Tensor:
        """``n`` draws ``(n, *shape)``, clamped to the value range."""
        x = self.mean + self.std * self.model.sample(n)
        return x.clamp(*self.data.value_range) if self.data.value_range else x

    def forward(self, x: Tensor) -> Tensor:
        return self.std.log().expand_as(x[0]).sum() - self.model.log_prob((x - self.mean) / self.std)


def write(options, data, model: Fitted, seconds: float, updates: int) -> None:
    """samples.npz, and metrics.json: parameters, seconds, updates, and the exact density's metrics."""
    options.directory.mkdir(parents=True, exist_ok=True)
    samples = Samples(model.sample(options.number or len(data.split("test").x)))
    write_npz(options.directory / "samples.npz", samples)
    values, skipped = measure_density(options, data, model, samples)
    values["seconds"] = Value(seconds, None, None, {"what": "processor time of training, one thread"})
    values["updates"] = Value(updates)
    values["parameters"] = Value(sum(p.numel() for p in model.model.parameters()))
    report.write(
        options.directory, options.seed, {"run": None, "checkpoint_sha256": None, "samples": None}, values, skipped
    )
    print(f"baseline: {options.directory}")


def measure_density(options, data, model: Fitted, samples: Samples) -> tuple[dict, dict]:
    """The metrics of ``density``, for a model that has one, on data whose truth is known."""
    from ebm_cli.metrics import Density

    if data.density is None:
        return {}, {}
    if type(model.model).log_prob is Baseline.log_prob:
        return {}, {"density": f"a {options.kind} has no density that can be evaluated"}
    alone = TrainedModel(model, None, None, data, 0, None, options.seed, 0, options.directory, None, samples=samples)
    found = Density()(alone)
    return {k: v for k, v in found.items() if isinstance(v, Value)}, {
        k: str(v) for k, v in found.items() if isinstance(v, Skip)
    }


if __name__ == "__main__":
    main()
