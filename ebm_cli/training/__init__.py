"""Training: the Lightning module, the trainer, and what happens around them."""

from ebm_cli.training.clipped_adam import ClippedAdam
from ebm_cli.training.schedule import Schedule

__all__ = ["ClippedAdam", "Schedule"]
