"""How the energy is held still while chains run: parameters without gradients, modules in evaluation mode."""

from __future__ import annotations

from contextlib import contextmanager

from ebm_cli.energies.energy import Energy

__all__ = ["evaluation_mode", "frozen", "in_train_mode"]


@contextmanager
def frozen(energy: Energy):
    """Parameters want no gradient inside, so a backward pass to the input computes none for the weights."""
    wanted = [p for p in energy.parameters() if p.requires_grad]
    for p in wanted:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in wanted:
            p.requires_grad_(True)


@contextmanager
def evaluation_mode(energy: Energy):
    """Puts a training energy in evaluation mode, so that it is one function along the whole chain.

    An energy with ``samples_in_train_mode`` set (a recipe's explicit choice) is left as it is.
    """
    # The flag is set module by module: ``energy.eval()`` and ``.train()`` would also touch modules that a user had
    # put in evaluation mode on purpose.
    training = [] if in_train_mode(energy) else [m for m in energy.modules() if m.training]
    for m in training:
        m.training = False
    try:
        yield
    finally:
        for m in training:
            m.training = True


def in_train_mode(energy: Energy) -> bool:
    """Whether a recipe wants chains to run with dropout and batch statistics, as training does."""
    return any(getattr(m, "samples_in_train_mode", False) for m in energy.modules())
