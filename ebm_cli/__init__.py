"""ebm-cli: train, sample and evaluate energy-based models from the shell.

Conventions, the same everywhere in this package:

* ``p(x) = exp(-E(x) / T) / Z``. Networks return the **energy**, shape ``(B,)``; low energy is likely.
* ``x`` is ``(B, *shape)`` of any rank. An energy knows its ``shape`` and its ``support``.
* A Langevin step is ``x - step_size * grad E + noise_std * xi``. ``noise_std: null`` ties the noise to
  ``sqrt(2 * step_size * T)``; otherwise the temperature really sampled is ``noise_std**2 / (2 * step_size)``.
* The value range of the data is a property of the dataset option, so step sizes can be quoted as published.
"""

__version__ = "0.1.0"
