"""Training losses, each a small class: ``objective(energy, batch, chains) -> Loss``."""

from ebm_cli.objectives.classifiers import JEM, Classifier
from ebm_cli.objectives.contrastive import ContrastiveDivergence
from ebm_cli.objectives.jarzynski import Jarzynski
from ebm_cli.objectives.nce import NoiseContrastive
from ebm_cli.objectives.objective import Loss, Objective

__all__ = ["JEM", "Classifier", "ContrastiveDivergence", "Jarzynski", "Loss", "NoiseContrastive", "Objective"]
