"""What chains see of a network: a frozen copy made for speed, refreshed in place before every chain."""

from __future__ import annotations

import copy
import time

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ebm_cli.energies.energy import Energy
from ebm_cli.models.network import Network
from ebm_cli.models.pooling import ConvPool
from ebm_cli.overrides.winograd import WinogradConv
from ebm_cli.overrides.written_out import write_out

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class FrozenCopies:
    """Replaces the networks of an energy by copies whose energies are the same and whose gradients cost less.

    In a copy nothing wants a gradient, weights that a parametrization computes (spectral norms) are plain, and images
    lie in whichever memory format was faster when it was tried once; with channels last, wide 3x3 convolutions are
    ``WinogradConv``; gradients of perceptrons are written out. A network that gains nothing by this is used as it is.

    Args:
        precision: ``float32`` is exact up to rounding; ``bfloat16`` keeps weights and activations, but not the chains,
            in bfloat16; ``none`` uses every network as it is.
        channels_last: the memory format of images; None measures it at the first chain.

    Raises:
        ValueError: for another precision.
    """

    def __init__(self, precision: str = "float32", channels_last: bool | None = None):
        if precision not in (*PRECISIONS, "none"):
            raise ValueError(f"frozen_copy={precision}: choose one of {', '.join((*PRECISIONS, 'none'))}")
        self.precision = precision
        self.copies: dict[int, FrozenCopy] = {}
        self.channels_last = channels_last  # once measured it is kept with the run, since it decides how sums round

    def of(self, energy: Energy, x: Tensor) -> Energy:
        """``energy`` as chains at ``x`` ``(B, *shape)`` should see it, with its present weights."""
        if self.precision == "none":
            return energy
        return energy.with_networks(lambda network: self.copy_of(network, x))

    def copy_of(self, network: Network, x: Tensor) -> Energy:
        """The copy of one network, made when it is first seen and refreshed every time."""
        if any(getattr(m, "samples_in_train_mode", False) for m in network.modules()):
            return network
        known = self.copies.get(id(network))
        if known is None or known.source is not network:
            known = self.copies[id(network)] = FrozenCopy(network, PRECISIONS[self.precision])
        if self.channels_last is None and known.has_images(x):
            self.channels_last = is_faster_with_channels_last(known, x)
        if not known.gains(bool(self.channels_last) and known.has_images(x)):
            return network
        known.refresh(bool(self.channels_last))
        return known.network

    def state(self) -> dict:
        """What a resumed run must know to round as this one does."""
        return {"channels_last": self.channels_last}

    def load_state(self, state: dict) -> None:
        self.channels_last = state["channels_last"]


class FrozenCopy:
    """A network's simplified copy, and how to give it the network's present weights.

    Args:
        source: the network; its weights are read at every ``refresh``.
        dtype: of the copy's weights.
    """

    def __init__(self, source: Network, dtype: torch.dtype):
        self.source, self.dtype = source, dtype
        network = copy.deepcopy(source).eval()
        self.simpler = simplify(network)
        self.network = network.requires_grad_(False)
        self.winograd: list[WinogradConv] = []
        if source._compiled_call_impl is None:
            pooled = {module.conv for module in network.modules() if isinstance(module, ConvPool)}
            self.winograd = [m for m in network.modules() if m not in pooled and WinogradConv.is_fit(m, dtype)]
        for conv in self.winograd:
            conv.__class__ = WinogradConv
        self.written_out = source._compiled_call_impl is None and write_out(network)
        if dtype != torch.float32:
            self.network.to(dtype)
            self.network.register_forward_pre_hook(lambda module, args: (args[0].to(dtype), *args[1:]))
            self.network.register_forward_hook(lambda module, args, out: out.float())
        if source._compiled_call_impl is not None:
            self.network.compile()

    def gains(self, channels_last: bool) -> bool:
        """Whether chains are better off with the copy than with the network itself."""
        return self.simpler or self.written_out or channels_last or self.dtype != torch.float32

    def has_images(self, x: Tensor) -> bool:
        """Whether memory format can matter: 2-D convolutions on a batch of images."""
        return x.ndim == 4 and any(isinstance(m, nn.Conv2d) for m in self.network.modules())

    @torch.no_grad()
    def refresh(self, channels_last: bool = False) -> None:
        """Copies the present weights, in place, to a network for images of that memory format."""
        self.network.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        training = [m for m in self.source.modules() if m.training]
        for module in training:
            module.training = False  # or a spectral norm would move on when its weight is read
        for name, module in self.network.named_modules():
            origin = self.source.get_submodule(name)
            for key, target in (*module._parameters.items(), *module._buffers.items()):
                if target is not None:
                    target.copy_(getattr(origin, key))
        for module in training:
            module.training = True
        for conv in self.winograd:
            conv.prepare()


def simplify(network: nn.Module) -> bool:
    """Makes parametrized weights plain, in place; whether there were any."""
    found = False
    for module in list(network.modules()):
        if parametrize.is_parametrized(module):
            found = True
            make_plain(module)
    return found


def make_plain(module: nn.Module) -> None:
    """Gives a copied module its own class back, and plain parameters.

    ``remove_parametrizations`` would do so for the original too: a copy shares its class.
    """
    values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))


def is_faster_with_channels_last(known: FrozenCopy, x: Tensor, repeats: int = 3) -> bool:
    """Tries one gradient at ``x`` in both memory formats; 3 % less time decides for channels last."""
    network, labels = known.network, {}
    if network.n_classes and not network.joint:
        labels = {"y": torch.zeros(len(x), dtype=torch.long, device=x.device)}
    times = {}
    for channels_last in (False, True):
        known.refresh(channels_last)
        spent = []
        for _ in range(repeats + 1):  # the first one warms up
            since = now(x.device)
            network.given(**labels).value_and_grad(x)
            spent.append(now(x.device) - since)
        times[channels_last] = min(spent[1:])
    return times[True] < 0.97 * times[False]


def now(device: torch.device) -> float:
    """Seconds, once the device has done all that it was given: processor time where it is the processor."""
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(device)
    return time.perf_counter()
