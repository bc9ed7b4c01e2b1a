"""Turns a released checkpoint of other code into a run, which ebm-sample and ebm-eval take as any other.

    python scripts/import_checkpoint.py MAP FILE RUN [OVERRIDE ...]

MAP is a name in scripts/released (jem) or a YAML file of one's own, see ebm_cli/runs/released.py; FILE is the released
file; RUN is the directory to make, such as outputs/runs/jem/released; overrides change the preset's config as on the
command line of ebm-train (dataset.root=DIR). The weights are used as they are; such a run cannot be trained on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.config import ConfigError, build, plain
from ebm_cli.config.check import check
from ebm_cli.config.errors import one_line
from ebm_cli.config.options import conf_dir
from ebm_cli.config.schema import SCHEMAS, TrainConfig
from ebm_cli.models.assemble import build_energy, facts_of, network_of
from ebm_cli.runs import released
from ebm_cli.training.resume import random_state
from ebm_cli.training.trainer import prepare
from ebm_cli.utils.distributed import everyone
from ebm_cli.utils.files import sha256, write_json


def composed(preset: str, overrides: list[str]):
    """The config that ``ebm-train experiment=PRESET OVERRIDE ...`` would have."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore

    for name, node in SCHEMAS.items():
        ConfigStore.instance().store(name=name, node=node)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", [f"experiment={preset}", *overrides])


def chains_of(cfg, facts: dict, base, buffer: torch.Tensor) -> Negatives:
    """Chains whose buffer holds the released one, at age 0 and without labels."""
    chains = Negatives(
        build(cfg.sampler, "sampler"),
        build(cfg.buffer, "buffer"),
        base,
        None,
        n_classes=facts["n_classes"],
        seed=cfg.seed,
    )
    if tuple(buffer.shape[1:]) != tuple(facts["shape"]):
        raise ConfigError(f"the file's buffer holds {tuple(buffer.shape[1:])}, these data are {tuple(facts['shape'])}")
    chains.buffer.fill(buffer.float(), torch.full((len(buffer),), -1))
    return chains


def import_run(map_file: Path, file: Path, directory: Path, overrides: list[str]) -> None:
    """Writes the run directory.

    Raises:
        ConfigError: where there is a run already, or names or shapes in file and network do not agree entirely.
    """
    if (directory / "config.yaml").exists():
        raise ConfigError(f"{directory}: there is a run already; name another directory")
    keys = released.read_map(map_file)
    tensors, buffer = released.read_file(file, keys)
    size = [] if buffer is None else [f"buffer.size={len(buffer)}"]
    cfg = composed(keys.preset, [*size, *overrides])
    check(cfg, TrainConfig)
    facts = facts_of(build(cfg.dataset, "dataset", seed=cfg.seed))
    base, energy = build_energy(plain(cfg), facts, build(cfg.objective, "objective").joint)
    network = network_of(energy)
    network.load_state_dict(released.translated(tensors, keys, network.state_dict()))
    ranks = {"random": random_state()}
    ranks["negatives"] = None if buffer is None else chains_of(cfg, facts, base, buffer).state()
    weights = {f"energy.{k}": v for k, v in energy.state_dict().items()}
    weights |= {f"base.{k}": v for k, v in base.state_dict().items()}
    prepare(directory, cfg)
    content = {
        "state_dict": weights,
        "hyper_parameters": {"config": plain(cfg), "facts": facts},
        "ranks": everyone(ranks),
    }
    beside = directory / "checkpoints" / "last.ckpt.part"
    torch.save(content, beside)
    beside.rename(beside.with_suffix(""))
    origin = {"file": file.name, "sha256": sha256(file), "map": map_file.name}
    write_json(directory / "imported.json", origin)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map", help="jem, or a YAML file")
    parser.add_argument("file", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    known = Path(__file__).parent / "released" / f"{options.map}.yaml"
    map_file = known if known.is_file() else Path(options.map)
    try:
        import_run(map_file, options.file, options.run.resolve(), options.overrides)
    except (ConfigError, OSError) as error:
        sys.exit(f"import_checkpoint: {one_line(error)}")
    print(f"run: {options.run}\nnext: ebm-sample run={options.run}\n      ebm-eval run={options.run}")


if __name__ == "__main__":
    main()
