"""Files that people edit: which state they are in, and whether they are at rest.

A file that is copied to its place (`scp`, a slow disk) is there in part before it is
there. A part may well be valid, so it is not read before it has stopped changing.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from errno import EAGAIN, EINVAL
from pathlib import Path

Stamp = tuple[int, ...]
"""One state of one file; empty while there is none."""

START_PATIENCE_S = 60.0
LOOK_S = 0.1


def stamp_of(path: Path) -> Stamp:
    """The file behind the path, links followed: a link that is swapped is another file.

    Size and time of change alone can be the same for another text (`cp -p`); whoever
    puts it there cannot set the inode's time.
    """
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def stamps_of(paths: Sequence[Path]) -> list[Stamp]:
    return [stamp_of(path) for path in paths]


def read_regular(path: Path) -> bytes:
    """Read a whole file. Raises OSError for a pipe or a device, which may never end."""
    fd = _open_regular(path)
    with os.fdopen(fd, "rb") as file:
        return file.read()


def _open_regular(path: Path) -> int:
    # A pipe without a writer is opened at once this way; a regular file is read as ever.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(EINVAL, "is no regular file", str(path))
    return fd


def is_open_for_writing(path: Path) -> bool:
    """Whether some process of this machine has the file open to write to it.

    The kernel gives a read lease only on a file that nobody writes. False where it
    cannot say (another owner's file, a network file system): then rest alone counts.
    """
    try:
        fd = _open_regular(path)
    except OSError:
        return False
    try:
        # A process that opens it to write meanwhile waits for us, and we are told: by a signal
        # that is ignored unless asked for, in place of SIGIO, which ends a process.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == EAGAIN
    finally:
        os.close(fd)
    return False


def wall_s() -> float:
    """Seconds by the clock of the files' own times."""
    return datetime.now(UTC).timestamp()


def await_rest(
    paths: Sequence[Path],
    settle_s: float,
    within_s: float = START_PATIENCE_S,
    clock: Callable[[], float] = wall_s,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Stamp]:
    """Wait until no file is being written, at most `within_s`; the state they are in then.

    Files that are older than `settle_s` are not waited for.
    """
    deadline = clock() + within_s
    while clock() < deadline and any(is_young(path, settle_s, clock()) for path in paths):
        sleep(LOOK_S)
    return stamps_of(paths)


def is_young(path: Path, settle_s: float, now: float) -> bool:
    """Return whether the file changed just now, or somebody has it open to write."""
    try:
        age_s = now - path.stat().st_ctime
    except OSError:
        return False
    # A clock that is behind the file server's knows nothing.
    return 0 <= age_s < settle_s or is_open_for_writing(path)


class Settling:
    """Tells when files that change have come to rest, from looks at their stamps.

    Args:
        stamps: the state that was read last.

    """

    def __init__(self, stamps: list[Stamp]) -> None:
        self._read = self._last = stamps
        self._since = 0.0
        self._begun: float | None = None

    def is_due(self, stamps: list[Stamp], settle_s: float, now: float) -> bool:
        """Return whether this is another state than the one read last, and is at rest."""
        if stamps == self._read:
            self._last, self._begun = stamps, None
            return False
        if stamps != self._last or self._begun is None:
            self._begun = now if self._begun is None else self._begun
            self._last, self._since = stamps, now
            return False
        return now - self._since >= settle_s

    def is_news(self, stamps: list[Stamp]) -> bool:
        """Return whether this is another state than the one read last."""
        return stamps != self._read

    def note_read(self, stamps: list[Stamp]) -> None:
        """Note that this state was read, whatever came of it."""
        self._read = self._last = stamps
        self._begun = None

    def changing_s(self, now: float) -> float | None:
        """Return for how long there has been a state that is not read yet, if there is one."""
        return None if self._begun is None else now - self._begun
