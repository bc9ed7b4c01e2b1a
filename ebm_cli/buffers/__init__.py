"""Where negatives live: the populations that training draws from and writes to."""

from ebm_cli.buffers.levels import LevelWalkers
from ebm_cli.buffers.negatives import Negatives
from ebm_cli.buffers.population import Entries, Population
from ebm_cli.buffers.replay import ReplayBuffer
from ebm_cli.buffers.weighted import WeightedWalkers

__all__ = ["Entries", "LevelWalkers", "Negatives", "Population", "ReplayBuffer", "WeightedWalkers"]
