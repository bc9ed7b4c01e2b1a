"""Files that are whole or absent, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path


def sha256(file: Path) -> str:
    """Hash of a file's bytes."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for part in iter(lambda: stream.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()


def write_json(file: Path, content: dict) -> None:
    """Writes JSON beside the file and renames, so that the file is whole or absent."""
    write_text(file, json.dumps(content, indent=2, allow_nan=True) + "\n")


def write_text(file: Path, text: str) -> None:
    """Writes text beside the file and renames, so that the file is whole or absent."""
    beside = file.with_name(file.name + ".part")
    beside.write_text(text)
    os.replace(beside, file)
