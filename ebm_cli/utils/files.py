"""Files that are whole or absent, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ebm_cli.config import ConfigError


@contextmanager
def atomic(file: Path, mode: str = "w", **options) -> Iterator[IO]:
    """Opens a file that appears under its name only when it is complete.

    What is written goes to a neighbor with a name of its own, which is renamed at the end. If writing fails, the
    neighbor is removed and whatever stood under the name stays as it was.

    Args:
        file: the name to appear.
        mode: ``w`` for text, ``wb`` for bytes.
        options: further keywords of ``open``.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "numbers.txt"
        >>> with atomic(file) as out:
        ...     _ = out.write("1 2 3")
        ...     file.exists()
        False
        >>> file.read_text()
        '1 2 3'
    """
    file = Path(file)
    # the process id keeps processes apart that write the same file; the dot hides it from patterns such as *.png
    beside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with open(beside, mode, **options) as out:
            yield out
        os.replace(beside, file)
    finally:
        beside.unlink(missing_ok=True)


def read_json(file: Path) -> dict:
    """What a JSON file holds.

    Raises:
        ConfigError: naming a file that is not there, or holds no JSON object.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except ValueError as error:  # also text that is no UTF-8
        raise ConfigError(f"{file}: not readable as JSON; delete it, or restore it") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{file}: not what a command of this package writes")
    return content


def write_json(file: Path, content: dict) -> None:
    """Writes JSON, whole or not at all."""
    write_text(file, json.dumps(content, indent=2, allow_nan=True) + "\n")


def write_text(file: Path, text: str) -> None:
    """Writes text, whole or not at all."""
    with atomic(file, encoding="utf-8") as out:
        out.write(text)


def sha256(file: Path) -> str:
    """The hash of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
