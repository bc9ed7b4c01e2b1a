"""Training: the Lightning module, the trainer, and what happens around them."""

from ebm_cli.training.clipped_adam import ClippedAdam

__all__ = ["ClippedAdam"]
