"""A normalizing flow: neural splines (Durkan et al. 2019), from the library zuko."""

from __future__ import annotations

from torch import Tensor

from ebm_cli.baselines.baseline import LossBaseline
from ebm_cli.config import ConfigError


class Flow(LossBaseline):
    """Autoregressive neural spline flow, trained by maximum likelihood.

    Args:
        shape: of one input.
        width: of the hidden layers.
        transforms: number of layers.

    Raises:
        ConfigError: if zuko is not installed.
    """

    def __init__(self, shape: tuple[int, ...], width: int | None = None, transforms: int = 3):
        super().__init__(shape, width or (256 if len(shape) == 3 else 128))
        self.steps, self.batch_size, bins = (1000, 64, 8) if self.images else (3000, 128, 12)
        try:
            from zuko.flows import NSF
        except ImportError as error:
            raise ConfigError("the flow needs the package zuko: pip install ebm-cli[baselines]") from error
        self.flow = NSF(self.dim, transforms=transforms, bins=bins, hidden_features=(self.width, self.width))

    def loss(self, x: Tensor) -> Tensor:
        return -self.log_prob(x).mean()

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow().log_prob(x.flatten(1))

    def sample(self, n: int) -> Tensor:
        return self.flow().sample((n,)).view(n, *self.shape)
