"""Training losses, each a small class: ``objective(energy, batch, negatives) -> Loss``."""

from ebm_cli.objectives.annealed import AnnealedChains
from ebm_cli.objectives.classifier import Classifier
from ebm_cli.objectives.contrastive import ContrastiveDivergence
from ebm_cli.objectives.denoising import DenoisingScoreMatching
from ebm_cli.objectives.energy_discrepancy import EnergyDiscrepancy
from ebm_cli.objectives.energy_matching import EnergyMatching
from ebm_cli.objectives.implicit import ScoreMatching
from ebm_cli.objectives.improved_cd import ImprovedCD
from ebm_cli.objectives.jarzynski import Jarzynski
from ebm_cli.objectives.jem import JEM
from ebm_cli.objectives.multi_scale_denoising import MultiScaleDenoising
from ebm_cli.objectives.nce import NoiseContrastive
from ebm_cli.objectives.objective import Loss, Objective
from ebm_cli.objectives.pseudo_likelihood import PseudoLikelihood
from ebm_cli.objectives.recovery import RecoveryLikelihood
from ebm_cli.objectives.sliced import SlicedScoreMatching

__all__ = [
    "AnnealedChains", "JEM", "Classifier", "ContrastiveDivergence", "DenoisingScoreMatching", "EnergyDiscrepancy",
    "EnergyMatching", "ImprovedCD", "Jarzynski", "Loss", "MultiScaleDenoising", "NoiseContrastive", "Objective",
    "PseudoLikelihood", "RecoveryLikelihood", "ScoreMatching", "SlicedScoreMatching",
]  # fmt: skip
