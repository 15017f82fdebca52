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
    """Take everybody else's rights to a file away; what to tell, None: there were none.

    One that cannot be narrowed (another user's, a file system that is read-only) is told
    and left: it may be a mounted one, whose mode nobody here decides.
    """
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return None
    try:
        path.chmod(mode & ALONE)
    except OSError as error:
        return f"{path} is open to others (mode {mode:04o}) and stays so: {error.strerror}"
    return f"{path} was open to others (mode {mode:04o}); it is {mode & ALONE:04o} now"


def shared(folder: Path) -> str | None:
    """What to tell the operator of a directory that others may write to; None: it is not.

    Its mode is left alone: it may be the machine's own, and we may be root.
    """
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not mode & 0o022:
        return None
    return (
        f"{folder} may be written by others (mode {mode:04o}): have a directory of your own in it"
    )
