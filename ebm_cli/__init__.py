"""ebm-cli: train, sample and evaluate energy-based models from the shell.

Conventions, the same everywhere in this package:

* ``p(x) = exp(-E(x) / T) / Z``. Networks return the **energy**, shape ``(B,)``; low energy is likely.
* ``x`` is ``(B, *shape)`` of any rank. An energy knows its ``shape`` and its ``support``.
* A Langevin step is ``x - step_size * grad E + noise_std * xi``. ``noise_std: null`` ties the noise to
  ``sqrt(2 * step_size * T)``; otherwise the temperature really sampled is ``noise_std**2 / (2 * step_size)``.
* The value range of the data is a property of the dataset option, so step sizes can be quoted as published.
"""

__version__ = "0.1.0"

PUBLIC = {  # where each name of the public API lives; imported when it is first used, since the commands start fast
    "load_energy": "ebm_cli.runs.trained",
    "TrainedModel": "ebm_cli.runs.trained",
    "Energy": "ebm_cli.energies",
    "Network": "ebm_cli.models",
    "Sampler": "ebm_cli.samplers",
    "Objective": "ebm_cli.objectives",
    "Metric": "ebm_cli.metrics",
    "DataModule": "ebm_cli.datasets",
    "Task": "ebm_cli.tasks",
}


def __getattr__(name: str):
    if name not in PUBLIC:
        raise AttributeError(f"module 'ebm_cli' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *PUBLIC])
