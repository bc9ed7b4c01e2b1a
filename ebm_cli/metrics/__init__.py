"""What ebm-eval can measure, each a small class: called with a subject, it gives named values."""

from ebm_cli.metrics.fd_classifier import FDClassifier
from ebm_cli.metrics.metric import Metric, Skip, Value

__all__ = ["FDClassifier", "Metric", "Skip", "Value"]
