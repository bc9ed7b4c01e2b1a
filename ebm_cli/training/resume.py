"""What one process alone knows: given back when a run is resumed, shared out anew among another number of them."""

from __future__ import annotations

import torch


def share_out(ranks: list[dict], rank: int, world: int) -> dict:
    """What one of ``world`` processes takes over of the states of another number of them; noise is not among it."""
    chains = {**ranks[0]["chains"], "cursor": 0, "generator": None}
    if chains["entries"] is not None:
        chains["entries"] = share([r["chains"]["entries"] for r in ranks], rank, world)
    return {"chains": chains, "objective": share([r["objective"] for r in ranks], rank, world)}


def share(states: list[dict], rank: int, world: int) -> dict:
    """Tensors of all states joined along their first axis and cut into ``world`` parts; plain values as the first."""
    joined = {}
    for key, value in states[0].items():
        rows = isinstance(value, torch.Tensor) and value.ndim
        joined[key] = torch.cat([s[key] for s in states]).tensor_split(world)[rank].clone() if rows else value
    return joined


def random_state() -> dict:
    """States of torch's global generators of this process, as tensors."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def load_random_state(state: dict) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda"]])
