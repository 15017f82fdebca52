"""The SQLite file of feedback: opening it, its tables, and what happens when it is damaged.

Every ingress replica of the head node has the same file open, in WAL mode. A
damaged file gets another name and a new one its place. Opening and renaming
exclude each other (a lock file), or a new file could meet the old one's WAL. A
replica that still has the old file open finds out by its inode.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from serve_app.config.private_files import private_folder

logger = logging.getLogger("ray.serve")

BUSY_TIMEOUT_MS = 5_000

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}

# Times are seconds since 1970. A feedback row is whole without its request's,
# which goes after days: it has a copy of what training and experiments read.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    request_id TEXT NOT NULL,
    at REAL NOT NULL,
    expires REAL NOT NULL,
    lane TEXT NOT NULL,
    model TEXT NOT NULL,
    reason TEXT NOT NULL,
    score REAL,
    classifier TEXT,
    prompt BLOB,
    prompt_expires REAL,
    UNIQUE (tenant, request_id)
);
CREATE INDEX IF NOT EXISTS requests_expires ON requests (expires);
CREATE INDEX IF NOT EXISTS requests_prompt ON requests (prompt_expires)
    WHERE prompt IS NOT NULL;
CREATE TABLE IF NOT EXISTS feedback (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    request_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    thumb TEXT,
    preferred_over TEXT,
    lane TEXT NOT NULL,
    model TEXT NOT NULL,
    reason TEXT NOT NULL,
    score REAL,
    classifier TEXT,
    prompt BLOB,
    prompt_expires REAL,
    other_lane TEXT,
    other_model TEXT,
    other_score REAL,
    UNIQUE (tenant, request_id, kind)
);
CREATE INDEX IF NOT EXISTS feedback_at ON feedback (at);
CREATE INDEX IF NOT EXISTS feedback_prompt ON feedback (prompt_expires)
    WHERE prompt IS NOT NULL;
"""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is no usable SQLite file (any more)."""
    return _code(error) in _DAMAGE


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process was in the way for longer than the time-out."""
    return _code(error) in _BUSY


def _code(error: sqlite3.Error) -> int:
    # Errors of the module itself carry no code of SQLite's.
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


class FeedbackFile:
    """One path: opens the file there, whichever it is by now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db: sqlite3.Connection | None = None
        self._inode = 0

    def connection(self) -> sqlite3.Connection:
        """The open connection to the file that has this path now."""
        if self._db is not None and self._inode != _inode(self.path):
            self.close()
        if self._db is None:
            with self._exclusive():
                _create(self.path)
                self._inode = _inode(self.path)
                self._db = _open(self.path)
        return self._db

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def move_aside(self) -> None:
        """Rename the damaged file, unless another process has done so."""
        self.close()
        with self._exclusive():
            if _inode(self.path) != self._inode:
                return
            aside = _free_name(self.path)
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.path}{suffix}").rename(f"{aside}{suffix}")
                    # Its age counts from here.
                    os.utime(f"{aside}{suffix}")
        logger.error("%s is damaged: it is now %s, and a new file is begun", self.path, aside)

    def forget_damaged(self, *, before: float) -> None:
        """Delete files that were moved aside before this time (seconds since 1970)."""
        for path in self.path.parent.glob(f"{self.path.name}.damaged-*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        private_folder(self.path.parent)
        fd = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _create(path: Path) -> None:
    """Make an empty file of mode 0600; SQLite gives its WAL the same mode."""
    # Never opened when it is there: closing it would drop SQLite's locks on it.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    path.chmod(0o600)


def _open(path: Path) -> sqlite3.Connection:
    # Autocommit: transactions are begun by hand, IMMEDIATE. Its users take turns.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        db.execute("PRAGMA journal_mode = WAL")
        # Enough for a killed process; a machine that loses power may lose the last batches.
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA secure_delete = ON")
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged-{n}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())
