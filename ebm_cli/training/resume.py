"""What one process alone knows: saved by all, given back when a run is resumed, shared out among another number."""

from __future__ import annotations

import sys

import torch

from ebm_cli.utils.distributed import everyone


def save_ranks(module, checkpoint: dict) -> None:
    """Adds chains and random states of every rank to a checkpoint; all ranks call this."""
    checkpoint["ranks"] = everyone({"negatives": module.negatives.state(), "random": random_state()})
    checkpoint["time_share"] = module.time_share


def load_rank(module, checkpoint: dict) -> None:
    """Gives a rank its own state back, or its part of the states of another number of processes, with new noise."""
    ranks, world = checkpoint["ranks"], module.trainer.world_size
    if len(ranks) == world:
        mine = ranks[module.global_rank]
        load_random_state(mine["random"])
    else:
        mine = share_out(ranks, module.global_rank, world)
        module.seed_noise(checkpoint["global_step"])
        if module.global_rank == 0:
            change = f"{len(ranks)} processes before, {world} now"
            sys.stderr.write(f"warning: {change}: chains are shared out anew, with new noise\n")
    module.negatives.load_state(mine["negatives"])
    module.time_share = checkpoint["time_share"]


def share_out(ranks: list[dict], rank: int, world: int) -> dict:
    """What one of ``world`` processes takes over of the states of another number of them; noise is not among it."""
    negatives = {**ranks[0]["negatives"], "generator": None}
    if negatives["population"] is not None:
        negatives["population"] = share([r["negatives"]["population"] for r in ranks], rank, world)
    return {"negatives": negatives}


def share(states: list[dict], rank: int, world: int) -> dict:
    """Rows of all states joined and cut into ``world`` parts; a cursor starts anew, other values are the first's."""
    joined = {}
    for key, value in states[0].items():
        rows = isinstance(value, torch.Tensor) and value.ndim
        joined[key] = torch.cat([s[key] for s in states]).tensor_split(world)[rank].clone() if rows else value
    return joined | ({"cursor": 0} if "cursor" in joined else {})


def random_state() -> dict:
    """States of torch's global generators of this process, as tensors."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def load_random_state(state: dict) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
