"""The optimizer of a run: built, made to follow a config that changed, and how much of a budget of time it has left."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pytorch_lightning.callbacks import Timer

from ebm_cli.config import build


def build_optimizer(node: dict, weights: Iterable, precision) -> torch.optim.Optimizer:
    """The optimizer of a config node; one of torch that can do so updates all weights in one operation.

    Not where gradients are scaled (16-mixed): a fused optimizer unscales them itself, after they were clipped.
    """
    optimizer = build(node, "optimizer", params=list(weights))
    if getattr(precision, "scaler", None) is None and "fused" in optimizer.defaults:
        for group in optimizer.param_groups:
            group.update(fused=True, foreach=False)
    return optimizer


def follow_config(optimizer, scheduler, node: dict, rate: float) -> None:
    """Gives an optimizer that a checkpoint has restored the settings that the config has now.

    Args:
        node: the config of the optimizer.
        rate: factor of the learning rate at this update.
    """
    wanted = {k: v for k, v in node.items() if k != "_target_"}
    for group in optimizer.param_groups:
        group.update({k: v for k, v in wanted.items() if k in group and as_list(group[k]) != as_list(v) and k != "lr"})
        if group["initial_lr"] != wanted["lr"]:
            group.update(initial_lr=wanted["lr"], lr=wanted["lr"] * rate)
    scheduler.base_lrs = [wanted["lr"]] * len(optimizer.param_groups)


def as_list(value):
    """Tuples as lists, as configs have them."""
    return list(value) if isinstance(value, tuple) else value


def agree_on_time(trainer, before: float) -> float:
    """Share of the run's budgets of time that is over: that of rank 0, of the budget that is nearest its end."""
    timers = [t for t in trainer.callbacks if isinstance(t, Timer) and t.time_remaining() is not None]
    if not timers:
        return before
    share = max(t.time_elapsed() / (t.time_elapsed() + t.time_remaining()) for t in timers)
    return float(trainer.strategy.broadcast(share))
