"""Other generative models on the same data: what an energy-based model is compared with. Small on purpose."""

from ebm_cli.baselines.adversarial import GAN
from ebm_cli.baselines.baseline import Baseline, Budget
from ebm_cli.baselines.flow import Flow
from ebm_cli.baselines.gaussian import Gaussian
from ebm_cli.baselines.vae import VAE

__all__ = ["GAN", "VAE", "Baseline", "Budget", "Flow", "Gaussian"]
