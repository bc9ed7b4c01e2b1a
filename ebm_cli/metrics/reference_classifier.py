"""The reference classifier: a small CNN trained on the data set itself, the same for everybody, kept on disk."""

from __future__ import annotations

import hashlib
import math
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ebm_cli.config import ConfigError
from ebm_cli.config.errors import one_line
from ebm_cli.utils.files import atomic
from ebm_cli.utils.whole import read_tensors

RECIPE = "conv 16-32-64, 64 features, 2"  # changes whenever the network or its training changes
N_FEATURES = 64
CHUNK = 1000


class ReferenceClassifier(nn.Module):
    """Three convolutions down to 4x4, 64 features, one linear layer.

    Args:
        shape: of one image, ``(C, H, W)``.
        n_classes: number of labels.
        mean, std: grey level statistics of the training images, so that any value range does.
    """

    def __init__(self, shape: tuple[int, int, int], n_classes: int, mean: float = 0.0, std: float = 1.0):
        super().__init__()
        channels, height, _ = shape
        strides = (2, 2, 2) if height >= 16 else (1, 2, 1)
        layers, width = [], channels
        for stride, out in zip(strides, (16, 32, 64), strict=True):
            layers += [nn.Conv2d(width, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU()]
            width = out
        self.convolutions = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(64 * 16, N_FEATURES), nn.ReLU())
        self.head = nn.Linear(N_FEATURES, n_classes)
        self.register_buffer("mean", torch.tensor(float(mean)))
        self.register_buffer("std", torch.tensor(float(std)))

    def features(self, x: Tensor) -> Tensor:
        """Penultimate features ``(N, 64)`` of images ``(N, C, H, W)``."""
        return self.hidden(self.convolutions((x - self.mean) / self.std))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))

    @torch.no_grad()
    def classify(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(N, 64)`` and class probabilities ``(N, K)``, a chunk of images at a time."""
        features = torch.cat([self.features(part) for part in x.split(CHUNK)])
        return features, self.head(features).softmax(1)


def load_or_train_reference(data) -> ReferenceClassifier:
    """The reference classifier of a data set, trained at the first call and read from disk afterwards.

    It is kept in ``$EBM_CACHE``, or ``outputs/cache``, under a hash of the training images, their labels and RECIPE.
    """
    x, y = data.split("train")
    classifier = ReferenceClassifier(data.shape, data.n_classes, float(x.mean()), float(x.std()))
    file = cache_dir() / f"reference-{data.name}-{fingerprint(x, y)}.pt"
    if file.is_file():
        try:
            classifier.load_state_dict(read_tensors(file))
            return classifier.eval()
        except (ConfigError, RuntimeError, TypeError) as error:
            sys.stderr.write(f"warning: {one_line(error)}; training the reference classifier anew\n")
    train(classifier, x, y, steps=500 + min(len(x), 60_000) // 40)
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic(file, "wb") as out:
        torch.save(classifier.state_dict(), out)
    return classifier


def cache_dir() -> Path:
    return Path(os.environ.get("EBM_CACHE", "outputs/cache"))


def fingerprint(x: Tensor, y: Tensor) -> str:
    """Hash of what decides the weights."""
    digest = hashlib.sha256(RECIPE.encode())
    for part in (x, y):
        digest.update(str(tuple(part.shape)).encode() + part.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def weights_hash(classifier: ReferenceClassifier) -> str:
    """Hash of the weights: distances are comparable where it is the same, and only there."""
    digest = hashlib.sha256()
    for name, value in classifier.state_dict().items():
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def train(
    classifier: ReferenceClassifier, x: Tensor, y: Tensor, steps: int, batch_size: int = 128, lr: float = 3e-3
) -> None:
    """Trains with Adam, a cosine rate, shifts by a pixel and pixel noise, from seed 0; leaves the global seed alone."""
    with torch.random.fork_rng(), one_thread():
        torch.manual_seed(0)
        classifier.apply(lambda layer: layer.reset_parameters() if hasattr(layer, "reset_parameters") else None)
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=lr)
        classifier.train()
        for step in range(steps):
            rows = torch.randint(len(x), (batch_size,))
            for group in optimizer.param_groups:
                group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
            loss = cross_entropy(classifier(disturbed(x[rows], classifier.std)), y[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    classifier.eval().requires_grad_(False)


@contextmanager
def one_thread():
    """Sums are taken in an order that depends on the number of threads, and training magnifies the rounding."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def disturbed(x: Tensor, std: Tensor) -> Tensor:
    """A batch with a tenth of the data's deviation as noise, all of it moved by at most one pixel."""
    shift = torch.randint(-1, 2, (2,)).tolist()
    return torch.roll(x, shift, (2, 3)) + 0.1 * std * torch.randn_like(x)
