"""Data sets, each a LightningDataModule: toys with exact densities, bundled digits, torchvision's, and your own."""

from ebm_cli.datasets.datamodule import Batch, DataModule
from ebm_cli.datasets.digits import Digits

__all__ = ["Batch", "DataModule", "Digits"]
