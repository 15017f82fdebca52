"""The SQLite file of feedback: its tables, and what happens when it is damaged.

Every ingress replica of the head node has the same file open. A damaged file gets another
name and a new one its place; a replica that still has the old file open finds out by its inode.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import sqlite3
from pathlib import Path

from serve_app.tenancy.sqlite_file import SqliteFile, inode_of

logger = logging.getLogger("ray.serve")

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


class FeedbackFile(SqliteFile):
    """The feedback's file, which is moved aside when it is damaged."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _prepare)

    def _open(self) -> sqlite3.Connection:
        with contextlib.suppress(FileNotFoundError):
            self.path.chmod(0o600)
        return super()._open()

    def move_aside(self) -> None:
        """Rename the damaged file, unless another process has done so."""
        self.close()
        with self.alone():
            if inode_of(self.path) != self.inode:
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


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA secure_delete = ON")
    db.executescript(_SCHEMA)


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.name}.damaged-{n}") for n in itertools.count(1))
    return next(name for name in names if not name.exists())
