"""What ebm-eval can measure, each a small class: called with a trained model, it gives named values."""

from ebm_cli.metrics.ais import AIS
from ebm_cli.metrics.classifier import Classifier
from ebm_cli.metrics.density import Density
from ebm_cli.metrics.fd_classifier import FDClassifier
from ebm_cli.metrics.fidelity import Fidelity
from ebm_cli.metrics.metric import Metric, Skip, Value
from ebm_cli.metrics.modes import Modes
from ebm_cli.metrics.nearest import Nearest
from ebm_cli.metrics.ood import OOD
from ebm_cli.metrics.points import Points
from ebm_cli.metrics.robust import Robust
from ebm_cli.metrics.stability import Stability
from ebm_cli.metrics.stand_ins import FDEfficientNet, FDPixel
from ebm_cli.metrics.stein import Stein
from ebm_cli.metrics.vectors import Vectors

__all__ = [
    "AIS", "OOD", "Classifier", "Density", "FDClassifier", "FDEfficientNet", "FDPixel", "Fidelity",
    "Metric", "Modes", "Nearest", "Points", "Robust", "Skip", "Stability", "Stein", "Value", "Vectors",
]  # fmt: skip
