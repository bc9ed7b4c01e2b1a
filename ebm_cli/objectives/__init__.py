"""Training losses, each a small class: ``objective(energy, batch, chains) -> Loss``."""

from ebm_cli.objectives.annealed import AnnealedChains
from ebm_cli.objectives.classifiers import JEM, Classifier
from ebm_cli.objectives.contrastive import ContrastiveDivergence
from ebm_cli.objectives.energy_discrepancy import EnergyDiscrepancy
from ebm_cli.objectives.energy_matching import EnergyMatching
from ebm_cli.objectives.improved_cd import ImprovedCD
from ebm_cli.objectives.jarzynski import Jarzynski
from ebm_cli.objectives.nce import NoiseContrastive
from ebm_cli.objectives.objective import Loss, Objective
from ebm_cli.objectives.pseudo_likelihood import PseudoLikelihood
from ebm_cli.objectives.recovery import RecoveryLikelihood
from ebm_cli.objectives.score_matching import (
    DenoisingScoreMatching,
    MultiScaleDenoising,
    ScoreMatching,
    SlicedScoreMatching,
)

__all__ = [
    "AnnealedChains", "JEM", "Classifier", "ContrastiveDivergence", "DenoisingScoreMatching", "EnergyDiscrepancy",
    "EnergyMatching", "ImprovedCD", "Jarzynski", "Loss", "MultiScaleDenoising", "NoiseContrastive", "Objective",
    "PseudoLikelihood", "RecoveryLikelihood", "ScoreMatching", "SlicedScoreMatching",
]  # fmt: skip
