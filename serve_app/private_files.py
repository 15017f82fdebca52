"""Files and directories that are their owner's alone, whatever the umask."""

from __future__ import annotations

import os
from pathlib import Path

ALONE = 0o700


def private_folder(path: Path) -> Path:
    """The directory, made with mode 0700 where it is missing, and so are its parents.

    Whoever may write to a parent could put another directory in its place.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=ALONE, exist_ok=True)
    return path


def private(path: str, flags: int) -> int:
    """An `opener` of new files with mode 0600."""
    return os.open(path, flags, 0o600)
