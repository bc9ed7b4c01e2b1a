"""What one process alone knows: given back when a run is resumed, shared out anew among another number of them."""

from __future__ import annotations

import torch


def share_out(ranks: list[dict], rank: int, world: int) -> dict:
    """What one of ``world`` processes takes over of the states of another number of them; noise is not among it."""
    negatives = {**ranks[0]["negatives"], "generator": None}
    if negatives["population"] is not None:
        population = share([r["negatives"]["population"] for r in ranks], rank, world)
        negatives["population"] = population | ({"cursor": 0} if "cursor" in population else {})
    return {"negatives": negatives}


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
