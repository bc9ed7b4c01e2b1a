"""One process at a time writes into a run directory."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ebm_cli.config import ConfigError


@contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Keeps other processes from training in ``directory`` for a while; a process that dies lets go of it.

    Raises:
        ConfigError: saying who holds it.

    Example:
        >>> import tempfile
        >>> with hold(Path(tempfile.mkdtemp())):
        ...     pass
    """
    directory.mkdir(parents=True, exist_ok=True)
    holder = directory / ".holder"
    lock = FileLock(directory / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        who = holder.read_text().strip() if holder.is_file() else "another process"
        raise ConfigError(f"{directory}: {who} is training here; wait for it, or name another run") from error
    except (OSError, NotImplementedError) as error:  # a file system without locks
        reason = getattr(error, "strerror", None) or str(error)
        sys.stderr.write(f"warning: {directory} cannot be locked ({reason}); see to it that one process trains here\n")
    try:
        holder.write_text(f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
