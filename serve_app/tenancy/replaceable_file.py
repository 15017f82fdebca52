"""A SQLite file that gives way when it is damaged, because its contents can be done without.

Every ingress replica of the head node has the same file open. A damaged file gets another
name, or is deleted, and a new one gets its place; a replica that still has the old file open
finds out by its inode.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from serve_app.tenancy.sqlite_file import SqliteFile, inode_of

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

KEEP_DAMAGED_S = 7 * 86_400.0
"""A damaged file is there to be looked at, but it may hold prompts."""

ATTEMPTS = 3
"""Each waits for SQLite's busy time-out; with a damaged file, once more with a new one."""


class ReplaceableFile(SqliteFile):
    """A file that tenants' prompts may be in, and that may be lost."""

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work; again when another process was in the way, or on a new file."""
        # One turn for all: what one thread finds damaged no other moves aside meanwhile.
        with self.turn:
            for _ in range(ATTEMPTS - 1):
                try:
                    return self._try(work)
                except sqlite3.Error as error:
                    if is_damage(error):
                        self.move_aside()
                    elif not is_busy(error):
                        raise
            return self._try(work)

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self.connection() as db:
            return work(db)

    def _open(self) -> sqlite3.Connection:
        with contextlib.suppress(FileNotFoundError):
            self.path.chmod(0o600)
        return super()._open()

    def move_aside(self) -> None:
        """Rename the damaged file, unless another process has done so."""
        with self._damaged() as files:
            if not files:
                return
            aside = _free_name(self.path)
            for file in files:
                moved = aside.with_name(aside.name + file.name.removeprefix(self.path.name))
                with contextlib.suppress(FileNotFoundError):
                    file.rename(moved)
                    # Its age counts from here.
                    os.utime(moved)
        logger.error("%s is damaged: it is now %s, and a new file is begun", self.path, aside)

    def delete(self) -> None:
        """Delete the damaged file, unless another process has done so."""
        with self._damaged() as files:
            for file in files:
                file.unlink(missing_ok=True)
        logger.warning("%s was damaged: it is begun anew", self.path)

    @contextlib.contextmanager
    def _damaged(self) -> Iterator[list[Path]]:
        """The file with its parts, which nobody opens meanwhile; none if it is another by now."""
        self.close()
        with self.alone():
            is_same = inode_of(self.path) == self.inode
            yield [Path(f"{self.path}{x}") for x in ("", "-wal", "-shm")] if is_same else []

    def forget_damaged(self, *, now: float) -> None:
        """Delete files that were moved aside `KEEP_DAMAGED_S` before (seconds since 1970)."""
        for path in self.path.parent.glob(f"{self.path.name}.damaged-*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < now - KEEP_DAMAGED_S:
                    path.unlink()


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is no usable SQLite file (any more)."""
    return _code(error) in _DAMAGE


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process was in the way for longer than the time-out."""
    return _code(error) in _BUSY


def _code(error: sqlite3.Error) -> int:
    # Errors of the module itself carry no code of SQLite's.
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged-{n}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())
