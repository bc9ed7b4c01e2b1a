"""Data sets that live in files of a published format: where the files are looked for, and what to say without them."""

from __future__ import annotations

import abc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from ebm_cli.datasets.datamodule import DataModule


@dataclass(kw_only=True, eq=False)
class StoredData(DataModule):
    """Base of the published data sets. A subclass names its files and implements ``load`` and ``fetch``.

    Args:
        root: folder of the data sets; EBM_DATA is searched too.
        download: fetch missing files into ``root``.
        batch_size, steps_per_epoch, validation, labeled, value_range, dequantize, noise_std, clamp, flip, crop,
            workers, seed: see ``DataModule``.

    Attributes:
        files: names of the files of ``train`` and of ``test``, relative to one of ``folders``.
        suffixes: what a file name may end with instead, in order of preference.
        subfolder: where below ``root`` torchvision keeps the files.
        system_folder: where a Linux distribution installs them, or None.
    """

    files: ClassVar[dict[str, tuple[str, ...]]]
    suffixes: ClassVar[tuple[str, ...]] = ("",)
    subfolder: ClassVar[str] = ""
    system_folder: ClassVar[str | None] = None

    paths = ("root",)

    value_range: list[float] | None = (0.0, 1.0)
    root: str = "data"
    download: bool = False

    def __post_init__(self):
        super().__post_init__()
        self.root = Path(self.root).expanduser()

    @abc.abstractmethod
    def fetch(self, part: str) -> None:
        """Downloads what is missing into ``root``, with torchvision."""

    def prepare_data(self) -> None:
        """Lightning calls this in one process, before the others look for the files."""
        if self.download:
            for part in ("train", "test"):
                self.find(part)

    def folders(self) -> list[Path]:
        """Where files are looked for, in order."""
        roots = [self.root] + [Path(root) for root in [os.environ.get("EBM_DATA")] if root]
        places = [place for root in roots for place in (root, root / self.subfolder)]
        return list(dict.fromkeys(places + ([Path(self.system_folder)] if self.system_folder else [])))

    def find(self, part: str) -> tuple[Path, list[Path]]:
        """The first folder that holds all files of a part, and their paths; downloads them if that is wanted.

        Raises:
            FileNotFoundError: saying in one line which files belong where.
        """
        found = self.look(part)
        if found is None and self.download:
            try:
                self.fetch(part)
            except (OSError, RuntimeError) as error:
                raise FileNotFoundError(f"dataset.download=true failed ({error}); {self.missing(part)}") from error
            found = self.look(part)
        if found is None:
            raise FileNotFoundError(f"{self.missing(part)}, or say dataset.download=true")
        return found

    def look(self, part: str) -> tuple[Path, list[Path]] | None:
        for folder in self.folders():
            candidates = [[folder / f"{name}{suffix}" for suffix in self.suffixes] for name in self.files[part]]
            paths = [next((path for path in paths if path.is_file()), None) for paths in candidates]
            if None not in paths:
                return folder, paths
        return None

    def missing(self, part: str) -> str:
        names = ", ".join(self.files[part])
        also = "".join(f" (or {suffix})" for suffix in self.suffixes if suffix)
        places = " or ".join(str(folder) for folder in self.folders())
        return f"dataset.root={self.root}: {self.name} needs the files {names}{also}: put them into {places}"
