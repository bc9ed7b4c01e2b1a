"""Any classifier as an energy: your network, its logits read as a JEM reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ebm_cli.models.network import Network
from ebm_cli.utils.whole import read_tensors


class Classifier(Network):
    """``E(x, y) = -logits(x)[y]`` and ``E(x) = -logsumexp_y logits(x)[y]`` of a module that gives logits ``(B, K)``.

    So a classifier is a density (Grathwohl et al. 2020), under any objective; one that is not joint trains ``E(x)``.

    Args:
        network: a torch module, in a config a node with ``_target_`` inside the packages that configs may name.
        weights: file of its state dict, ``torch.save(network.state_dict(), file)``; null leaves the module's own.
        mean, std: what the network expects its input to be shifted and divided by, ``(x - mean) / std``: a number, or
            one per channel.

    Raises:
        ValueError: for data without labels, anything but a module, a std that is not positive, or weights that do not
            fit.
        FileNotFoundError: if there is no such file.

    Example:
        >>> import torch
        >>> energy = Classifier((4,), network=torch.nn.Linear(4, 3), n_classes=3)
        >>> energy(torch.zeros(2, 4)).shape, energy.class_energies(torch.zeros(2, 4)).shape
        (torch.Size([2]), torch.Size([2, 3]))
    """

    paths = ("weights",)  # runs keep it as an absolute path

    def __init__(
        self,
        shape,
        *,
        network: nn.Module,
        weights: str | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        **supplied,
    ):
        super().__init__(shape, **{**supplied, "joint": True})
        if not isinstance(network, nn.Module):
            raise ValueError(f"network must be a torch module, a node with _target_; got {type(network).__name__}")
        self.network = network if weights is None else loaded(network, Path(weights).expanduser())
        for name, value in (("mean", mean), ("std", std)):
            self.register_buffer(name, per_channel(name, value, self.shape), persistent=False)
        if not bool((self.std > 0).all()):
            raise ValueError(f"std must be positive, got {std}")

    def outputs(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        logits = self.network((x - self.mean) / self.std)
        if logits.shape != (len(x), self.n_classes):
            raise ValueError(
                f"model.network gives outputs of shape {tuple(logits.shape)} for {len(x)} inputs; these data have "
                f"{self.n_classes} classes: logits must be {(len(x), self.n_classes)}"
            )
        return -logits


def loaded(network: nn.Module, file: Path) -> nn.Module:
    """``network`` with the weights of a file, of which nothing is executed."""
    if not file.is_file():
        raise FileNotFoundError(f"model.weights={file}: no such file; write torch.save(network.state_dict(), file)")
    try:
        network.load_state_dict(read_tensors(file))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"model.weights={file}: not the state dict of {type(network).__name__}: {error}") from error
    return network


def per_channel(name: str, value: float | Sequence[float], shape: tuple[int, ...]) -> Tensor:
    """A number, or one for each channel, as a tensor that broadcasts over inputs ``(B, *shape)``."""
    values = torch.tensor(value if isinstance(value, Sequence) else [value], dtype=torch.float32)
    if len(values) not in (1, shape[0]):
        raise ValueError(f"{name} must be a number or one per channel ({shape[0]}), got {value}")
    return values.view(-1, *[1] * (len(shape) - 1))
