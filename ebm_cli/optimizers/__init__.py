"""Optimizers that torch does not have; a run may also name any of torch.optim."""

from ebm_cli.optimizers.clipped_adam import ClippedAdam

__all__ = ["ClippedAdam"]
