"""Where negatives live: the populations that training draws from and writes to."""

from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.replay import Entries, ReplayBuffer

__all__ = ["Entries", "Negatives", "ReplayBuffer"]
