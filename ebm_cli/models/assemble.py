"""The energy of a run: its network, and its base where the config adds it."""

from __future__ import annotations

from dataclasses import asdict

from ebm_cli.config import build
from ebm_cli.energies import Base, Energy, Support, Tilted


def build_energy(config: dict, facts: dict, joint: bool) -> tuple[Base, Energy]:
    """The base and the energy of a run, fresh: ``network`` or ``network + base`` as the config says."""
    supplied = {"shape": tuple(facts["shape"]), "support": Support(**facts["support"])}
    network = build(config["model"], "model", **supplied, n_classes=facts["n_classes"], joint=joint)
    base = build(config["base"], "base", **supplied, n_classes=facts["n_classes"])
    return base, Tilted(network, base) if config["tilted"] else network


def network_of(energy: Energy) -> Energy:
    """The learned part of an energy."""
    return energy.network if isinstance(energy, Tilted) else energy


def facts_of(data) -> dict:
    """What a run must know of its data without having them, as plain values."""
    return {
        "shape": list(data.shape),
        "support": data.support.as_dict(),
        "n_classes": data.n_classes,
        "name": data.name,
        "class_names": None if data.class_names is None else [str(name) for name in data.class_names],
        "scaling": None if data.scaling is None else asdict(data.scaling),
        "value_range": None if data.value_range is None else list(data.value_range),
    }
