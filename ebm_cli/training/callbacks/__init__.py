"""What happens around the training step, each a callback of Lightning and an option of conf/callbacks."""

from ebm_cli.training.callbacks.average import WeightAverage
from ebm_cli.training.callbacks.checkpoint import BestCheckpoint, Checkpoint, LastCheckpoint
from ebm_cli.training.callbacks.guard import DivergenceGuard
from ebm_cli.training.callbacks.histograms import EnergyHistograms
from ebm_cli.training.callbacks.interrupt import Interrupt
from ebm_cli.training.callbacks.pictures import SamplePictures
from ebm_cli.training.callbacks.throughput import Throughput
from ebm_cli.training.callbacks.timer import CPUTimer

__all__ = [
    "BestCheckpoint", "CPUTimer", "Checkpoint", "DivergenceGuard", "EnergyHistograms", "Interrupt", "LastCheckpoint",
    "SamplePictures", "Throughput", "WeightAverage",
]  # fmt: skip
