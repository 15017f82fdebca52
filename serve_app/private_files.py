"""Files and directories that are their owner's alone, whatever the umask."""

from __future__ import annotations

import os
import stat
import tempfile
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


def write_private(path: Path, text: str) -> Path:
    """A file beside `path` that is to get its name: whole, so that nobody reads half of it.

    Mode 0600; a folder that is made for it has 0700.
    """
    fd, partial = tempfile.mkstemp(dir=private_folder(path.parent))
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(fd)
    return Path(partial)


def narrow(path: Path) -> str | None:
    """Take everybody else's rights away; what to tell the operator, None: there were none.

    One that cannot be narrowed (another user's, a file system that is read-only) is told
    and left: it may be a mounted one, whose mode nobody here decides. So is a directory
    with the sticky bit, which is everybody's on purpose (/tmp, and we may be root).
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return None
    if mode & stat.S_ISVTX:
        return f"{path} is everybody's (mode {mode:04o}): have a directory of your own in it"
    try:
        path.chmod(mode & ALONE)
    except OSError as error:
        return f"{path} is open to others (mode {mode:04o}) and stays so: {error.strerror}"
    return f"{path} was open to others (mode {mode:04o}); it is {mode & ALONE:04o} now"
