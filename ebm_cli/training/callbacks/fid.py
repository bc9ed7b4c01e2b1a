"""FID while training: torchmetrics' distance of the chains' states to training images, every few epochs."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor

from ebm_cli.config import ConfigError
from ebm_cli.metrics.fidelity import Fidelity, bytes_of
from ebm_cli.metrics.metric import Skip
from ebm_cli.metrics.reference_classifier import ReferenceClassifier, load_or_train_reference

CHUNK = 50


class FIDDuringTraining(pl.Callback):
    """Logs ``fid/chains``, or ``fd_classifier/chains``: a curve to watch, not a number to report.

    The chains that the buffer keeps, or the last negatives, are compared with as many training images through
    torchmetrics, whose distance equals torch-fidelity's for the same features. Too few images for 2048 features bias it
    upwards, always by about as much.

    Args:
        every_n_epochs: how often.
        n: images on either side, at most.
        features: ``inception``, whose weights must be there, or ``classifier``: a stand-in, never to be called FID.
        weights: file of Inception's weights; null looks where torch keeps downloads.

    Raises:
        ValueError: for unknown features, or fewer than two images.
    """

    def __init__(
        self, *, every_n_epochs: int = 10, n: int = 1000, features: str = "inception", weights: str | None = None
    ):
        if features not in ("inception", "classifier"):
            raise ValueError(f"features must be inception or classifier, got {features!r}")
        if every_n_epochs < 1 or n < 2:
            raise ValueError(f"every_n_epochs >= 1 and n >= 2 expected, got {every_n_epochs}, {n}")
        self.every_n_epochs, self.n, self.features, self.weights = every_n_epochs, n, features, weights
        self.name = "fid/chains" if features == "inception" else "fd_classifier/chains"

    def setup(self, trainer, module, stage: str) -> None:
        """Finds the weights before training starts.

        Raises:
            ConfigError: if they are missing, naming the place.
        """
        if stage != "fit":
            return
        from torchmetrics.image.fid import FrechetInceptionDistance

        data = trainer.datamodule
        try:
            if self.features == "inception":
                file = Fidelity(scores=["fid"], weights=self.weights).file()
                options = {"feature": 2048, "feature_extractor_weights_path": str(file), "antialias": False}
            else:
                options = {"feature": Features(load_or_train_reference(data), data)}
        except Skip as reason:
            raise ConfigError(f"callbacks.fid: {reason}") from reason
        with torch.random.fork_rng():  # weights that are overwritten at once must not cost the training its numbers
            self.distance = FrechetInceptionDistance(**options)

    def on_train_epoch_end(self, trainer, module) -> None:
        kept = module.negatives.stored(self.n)
        if (trainer.current_epoch + 1) % self.every_n_epochs or kept is None or not trainer.is_global_zero:
            return
        data = trainer.datamodule
        real = data.split("train", len(kept.x)).x
        self.distance.reset()
        for x, is_real in ((kept.x.cpu(), False), (real, True)):
            for part in bytes_of(x, data).split(CHUNK):
                self.distance.update(part, real=is_real)
        module.log(self.name, self.distance.compute().float(), rank_zero_only=True)


class Features(torch.nn.Module):
    """Features of a data set's classifier for uint8 images ``(N, 3, H, W)``, as torchmetrics passes them."""

    num_features = 64

    def __init__(self, classifier: ReferenceClassifier, data):
        super().__init__()
        self.classifier, self.channels, self.value_range = classifier, data.shape[0], data.value_range

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.value_range
        return self.classifier.classify(low + (high - low) * x[:, : self.channels].float() / 255)[0]
