"""What ebm-eval can measure, each a small class: called with a subject, it gives named values."""

from ebm_cli.metrics.classifier import Classifier
from ebm_cli.metrics.density import Density
from ebm_cli.metrics.fd_classifier import FDClassifier
from ebm_cli.metrics.fidelity import Fidelity
from ebm_cli.metrics.metric import Metric, Skip, Value
from ebm_cli.metrics.ood import OOD

__all__ = ["OOD", "Classifier", "Density", "FDClassifier", "Fidelity", "Metric", "Skip", "Value"]
