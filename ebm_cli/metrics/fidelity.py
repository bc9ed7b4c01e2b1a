"""fid, kid, inception_score, precision_recall: through torch-fidelity, with every choice of the protocol recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from ebm_cli.config import ConfigError
from ebm_cli.metrics.metric import Metric, Skip, Value, need_images
from ebm_cli.metrics.reference_classifier import cache_dir
from ebm_cli.metrics.sampled import origin
from ebm_cli.metrics.stand_ins import unit
from ebm_cli.runs.trained import TrainedModel
from ebm_cli.utils.files import sha256
from ebm_cli.utils.whole import read_tensors

RELEASES = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
STANDARD = {  # extractor: file of its weights, whose name ends with the first digits of its sha256
    "inception-v3-compat": "weights-inception-2015-12-05-6726825d.pth",
    "vgg16": "vgg16-397923af.pth",
}
REFERENCES = {  # parts of the data that real images come from
    "train": ("train", "validation"),
    "test": ("test",),
    "train+test": ("train", "validation", "test"),
}
SCORES = {  # score: switch of torch-fidelity
    "fid": "fid",
    "kid": "kid",
    "inception_score": "isc",
    "precision_recall": "prc",
}


@dataclass(kw_only=True, eq=False)
class Fidelity(Metric):
    """Distances and scores on features of a pretrained network, as torch-fidelity computes them.

    Frechet inception distance (Heusel et al. 2017), kernel inception distance (Binkowski et al. 2018), inception score
    (Salimans et al. 2016), precision and recall (Kynkaanniemi et al. 2019). Images are rounded to 256 grey levels, grey
    ones repeated over three channels; the extractor resizes them (TensorFlow 1's bilinear rule for Inception). FID and
    inception score depend on ``n``: compare only equal ``n``.

    Args:
        scores: which of fid, kid, inception_score and precision_recall.
        n: samples, at most as many as were given.
        reference: real images: ``train`` (the whole training part, validation included), ``test``, or ``train+test``.
        extractor: name in torch-fidelity's registry: inception-v3-compat, vgg16, or one of your own.
        weights: file of the extractor's weights; null looks where torch keeps downloads.
        batch_size: images per forward pass of the extractor; changes nothing but time.
        splits: of the inception score; its spread over them gives the standard error.
        subsets, subset_size: of the kernel distance, without replacement inside one.
        neighbors: k of precision and recall.
    """

    scores: list[str] = ("fid", "kid", "inception_score")
    n: int = 50_000
    reference: str = "train"
    extractor: str = "inception-v3-compat"
    weights: str | None = None
    batch_size: int = 50
    splits: int = 10
    subsets: int = 100
    subset_size: int = 1000
    neighbors: int = 3

    def __post_init__(self):
        for score in self.scores:
            if score not in SCORES:
                raise ValueError(f"scores: {score!r} is unknown; choose from {', '.join(SCORES)}")
        if self.reference not in REFERENCES:
            raise ValueError(f"reference must be train, test or train+test, got {self.reference!r}")
        if min(self.n, self.subset_size) < 2 or min(self.batch_size, self.splits, self.subsets, self.neighbors) < 1:
            raise ValueError("n and subset_size must be at least 2; batch_size, splits, subsets, neighbors at least 1")

    def check(self, model: TrainedModel) -> None:
        need_images(model.data)
        if model.data.shape[0] not in (1, 3):
            raise Skip(f"{model.data.name} has {model.data.shape[0]} channels, and the extractor takes 1 or 3")
        need_torch_fidelity()
        if self.extractor in STANDARD:
            self.file()

    def file(self) -> Path:
        """The file of weights.

        Raises:
            Skip: if it is missing, damaged or not plain weights, naming the place and where the file comes from.
        """
        name = STANDARD[self.extractor]
        source = f"{RELEASES}{name}" if self.extractor.startswith("inception") else "torchvision's own site"
        file = Path(self.weights).expanduser() if self.weights else Path(torch.hub.get_dir()) / "checkpoints" / name
        if not file.is_file():
            raise Skip(f"no weights of {self.extractor}: put {name} (from {source}) at {file}")
        if file.name == name and not standard(file, self.extractor):
            raise Skip(f"{file} is damaged: its sha256 begins with {sha256(file)[:8]}; fetch it again from {source}")
        need_plain_weights(file)
        return file

    def __call__(self, model: TrainedModel) -> dict[str, Value | Skip]:
        self.check(model)
        samples = (model.draw(self.n) if model.samples is None else model.samples).x[: self.n]
        real = reference_images(model.data, self.reference)
        protocol = self.protocol(model, len(samples), len(real))
        switches = {SCORES[score]: True for score in self.scores}
        found = self.compute(model, bytes_of(samples, model.data), bytes_of(real, model.data), switches)
        values = {}
        for score in self.scores:
            values |= getattr(self, f"read_{SCORES[score]}")(found, len(samples), len(real), protocol)
        return values

    def compute(self, model: TrainedModel, samples: Tensor, real: Tensor, switches: dict) -> dict:
        """torch-fidelity's own dictionary."""
        from torch_fidelity import calculate_metrics

        return calculate_metrics(
            input1=Images(samples),
            input2=Images(real),
            cuda=model.device.type == "cuda",
            batch_size=self.batch_size,
            **{"isc": False, "fid": False, "kid": False, "prc": False} | switches,
            feature_extractor=self.extractor,
            feature_extractor_weights_path=str(self.file()) if self.extractor in STANDARD else self.weights,
            isc_splits=self.splits,
            kid_subsets=self.subsets,
            kid_subset_size=min(self.subset_size, len(samples), len(real)),
            prc_neighborhood=self.neighbors,
            cache=False,
            cache_root=str(cache_dir()),
            rng_seed=model.seed,
            save_cpu_ram=True,  # or it starts worker processes for images that are in memory
            verbose=False,
        )

    def protocol(self, model: TrainedModel, n: int, n_real: int) -> dict:
        """Everything that decides the numbers."""
        from importlib.metadata import version

        file = self.file() if self.extractor in STANDARD else None
        return origin(model) | {
            "program": f"torch-fidelity {version('torch-fidelity')}",
            "extractor": self.extractor,
            "weights_sha256": sha256(file) if file else None,
            "standard_weights": bool(file) and standard(file, self.extractor),
            "resize": "to 299x299, bilinear as in TensorFlow 1"
            if "inception" in self.extractor
            else "the extractor's own",
            "quantization": "rounded to 256 levels",
            "n_samples": n,
            "n_reference": n_real,
            "reference": self.reference,
            "selection": "none",
        }

    # What torch-fidelity gives, as our values ---------------------------------------------------------------------

    def read_fid(self, found: dict, n: int, n_real: int, protocol: dict) -> dict[str, Value]:
        return {"fid": Value(found["frechet_inception_distance"], None, n, protocol)}

    def read_isc(self, found: dict, n: int, n_real: int, protocol: dict) -> dict[str, Value]:
        stderr = found["inception_score_std"] / self.splits**0.5 if self.splits > 1 else None
        return {"inception_score": Value(found["inception_score_mean"], stderr, n, protocol | {"splits": self.splits})}

    def read_kid(self, found: dict, n: int, n_real: int, protocol: dict) -> dict[str, Value]:
        """The spread over subsets is that of so many images; it shrinks with the root of their number."""
        size, least = min(self.subset_size, n, n_real), min(n, n_real)
        stderr = found["kernel_inception_distance_std"] * (size / least) ** 0.5 if 2 * size <= least else None
        protocol = protocol | {"subsets": self.subsets, "subset_size": size, "kernel": "polynomial, degree 3"}
        return {"kid": Value(found["kernel_inception_distance_mean"], stderr, n, protocol)}

    def read_prc(self, found: dict, n: int, n_real: int, protocol: dict) -> dict[str, Value]:
        """Shares, with the binomial error of their own set."""
        protocol = protocol | {"neighbors": self.neighbors}
        counts = {"precision": n, "recall": n_real}
        return {k: Value(v := found[k], (v * (1 - v) / m) ** 0.5, m, protocol) for k, m in counts.items()}


def standard(file: Path, extractor: str) -> bool:
    """Whether a file holds the weights that everybody means by an extractor's name."""
    return sha256(file).startswith(STANDARD[extractor].removesuffix(".pth").rsplit("-", 1)[1])


def need_plain_weights(file: Path) -> None:
    """Raises Skip for a file that holds anything but tensors: torch-fidelity would execute it."""
    try:
        read_tensors(file)
    except ConfigError as error:
        raise Skip(str(error)) from error


class Images(TensorDataset):
    """uint8 images ``(N, 3, H, W)`` as torch-fidelity wants them: one tensor per item."""

    def __getitem__(self, index):
        return self.tensors[0][index]


def need_torch_fidelity() -> None:
    """Raises Skip if the package is missing."""
    try:
        import torch_fidelity  # noqa: F401
    except ImportError as error:
        raise Skip("needs the package torch-fidelity: pip install ebm-cli[eval]") from error


def reference_images(data, reference: str) -> Tensor:
    """Clean real images ``(N, *shape)``; the training part is whole, validation included."""
    return torch.cat([data.split(part).x for part in REFERENCES[reference]])


def bytes_of(x: Tensor, data) -> Tensor:
    """Images in the value range as uint8 ``(N, 3, H, W)``, rounded."""
    grey = (unit(x, data) * 255).round().clamp(0, 255).to(torch.uint8)
    return grey.expand(-1, 3, -1, -1) if grey.shape[1] == 1 else grey
