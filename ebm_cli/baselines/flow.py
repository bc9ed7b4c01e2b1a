"""A normalising flow: neural splines (Durkan et al. 2019), from the library zuko."""

from __future__ import annotations

from torch import Tensor

from ebm_cli.baselines.baseline import Baseline
from ebm_cli.config import ConfigError


class Flow(Baseline):
    """Autoregressive neural spline flow, trained by maximum likelihood.

    Args:
        dim: number of entries of one input.
        width: of the hidden layers.
        transforms: number of layers.

    Raises:
        ConfigError: if zuko is not installed.
    """

    def __init__(self, dim: int, width: int = 128, transforms: int = 3):
        super().__init__(dim, width)
        self.steps = 3000 if dim <= 3 else 800  # about a minute on one core
        try:
            from zuko.flows import NSF
        except ImportError as error:
            raise ConfigError("the flow needs the package zuko: pip install ebm-cli[baselines]") from error
        self.flow = NSF(dim, transforms=transforms, bins=12, hidden_features=(width, width))

    def loss(self, x: Tensor) -> Tensor:
        return -self.log_prob(x).mean()

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow().log_prob(x)

    def sample(self, n: int) -> Tensor:
        return self.flow().sample((n,))
