"""SQLite files that the processes of one node share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from serve_app.config.private_files import private_folder

BUSY_TIMEOUT_MS = 5_000


class SqliteFile:
    """One path: opens the SQLite file there, whichever it is by now, in WAL mode.

    Readers never wait, writers take turns, and so do the threads of this process. Nothing is
    opened before the first use; a file that is replaced under it is noticed by its inode.

    Args:
        path: its mode is 0600, and SQLite gives its WAL the same.
        prepare: makes the tables of a file that was just opened.

    Attributes:
        turn: what a thread holds while it uses the connection.
        inode: of the file that was opened last.

    """

    def __init__(self, path: Path, prepare: Callable[[sqlite3.Connection], object]) -> None:
        self.path = path
        self.turn = threading.RLock()
        self.inode = 0
        self._prepare = prepare
        self._db: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        with self.turn:
            if self._db is not None and self.inode != inode_of(self.path):
                self.close()
            if self._db is None:
                self._db = self._open()
            yield self._db

    @contextlib.contextmanager
    def transaction(self, kind: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        with self.connection() as db:
            db.execute(f"BEGIN {kind}")
            try:
                yield db
            except BaseException:
                db.rollback()
                raise
            try:
                db.execute("COMMIT")
            except sqlite3.Error:
                # A transaction that cannot end would stand in everybody's way.
                with contextlib.suppress(sqlite3.Error):
                    db.rollback()
                raise

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self.turn:
            if self._db is not None:
                self._db.close()
                self._db = None

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from opening or renaming the file meanwhile.

        A change to WAL mode does not wait for another's, and a new file could meet the WAL of
        the one before it.
        """
        private_folder(self.path.parent)
        fd = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _open(self) -> sqlite3.Connection:
        with self.alone():
            # Never opened when it is there: closing it would drop SQLite's locks on it.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            self.inode = inode_of(self.path)
            # Autocommit: transactions are begun by hand.
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
                db.execute("PRAGMA journal_mode = WAL")
                # Enough for a killed process; a machine that loses power may lose the last batches.
                db.execute("PRAGMA synchronous = NORMAL")
                self._prepare(db)
            except BaseException:
                db.close()
                raise
        return db


def inode_of(path: Path) -> int:
    """Which file has this path now; 0: none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
