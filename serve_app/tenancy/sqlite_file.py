"""The SQLite file of tenancy: opening it, and its tables.

Every ingress replica of the node and the command line have it open at once, in WAL
mode: readers never wait, writers take turns. A damaged file is an error and stays where
it is: a new one in its place would bring revoked keys back to life and quotas to zero.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from pathlib import Path

from serve_app.config.private_files import private_folder

BUSY_TIMEOUT_MS = 5_000

VERSION = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS versions (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT OR IGNORE INTO versions VALUES ('keys', 0), ('usage', 0);
CREATE TABLE IF NOT EXISTS keys (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    salt TEXT NOT NULL,
    hash TEXT NOT NULL,
    expires TEXT,
    admin INTEGER NOT NULL,
    proxy INTEGER NOT NULL,
    created TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS revocations (id TEXT PRIMARY KEY, at TEXT NOT NULL);
-- For people: every day, tenant and lane.
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL,
    tenant TEXT NOT NULL,
    lane TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    completion INTEGER NOT NULL,
    PRIMARY KEY (day, tenant, lane)
) WITHOUT ROWID;
-- For quotas: a day's and a month's sums, found by what changed last.
CREATE TABLE IF NOT EXISTS totals (
    period TEXT NOT NULL,
    tenant TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    completion INTEGER NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (period, tenant)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS totals_version ON totals (version);
CREATE TABLE IF NOT EXISTS writers (
    writer TEXT PRIMARY KEY,
    batch INTEGER NOT NULL,
    file INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    is_recovered INTEGER NOT NULL DEFAULT 0
);
-- One row: the ledger that has the last word.
CREATE TABLE IF NOT EXISTS ledger (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    epoch INTEGER NOT NULL,
    boot TEXT NOT NULL,
    granted_until REAL,
    -- A JSON list.
    holders TEXT
);
INSERT OR IGNORE INTO ledger VALUES (1, 0, '', NULL, NULL);
CREATE TABLE IF NOT EXISTS open (
    writer TEXT NOT NULL,
    id INTEGER NOT NULL,
    day TEXT NOT NULL,
    tenant TEXT NOT NULL,
    lane TEXT NOT NULL,
    prompt INTEGER NOT NULL,
    completion INTEGER NOT NULL,
    reserved REAL NOT NULL,
    PRIMARY KEY (writer, id)
) WITHOUT ROWID;
"""


def open_file(path: Path) -> tuple[sqlite3.Connection, int]:
    """Open it, made with its tables where there is none; also its inode.

    One process at a time: a change to WAL mode does not wait for another's.
    """
    private_folder(path.parent)
    fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        # Mode 0600, and SQLite gives its WAL the same.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return _connect(path), inode(path)
    finally:
        os.close(fd)


def _connect(path: Path) -> sqlite3.Connection:
    # Autocommit: transactions are begun by hand, IMMEDIATE. Its users take turns.
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        db.execute("PRAGMA journal_mode = WAL")
        # Enough for a killed process; a machine that loses power may lose the last batches.
        db.execute("PRAGMA synchronous = NORMAL")
        if db.execute("PRAGMA user_version").fetchone()[0] < VERSION:
            # Tables are only ever added, so each version makes what is missing.
            script = f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {VERSION};COMMIT;"
            db.executescript(script)
    except BaseException:
        db.close()
        raise
    return db


def inode(path: Path) -> int:
    """Which file has this path now; 0: none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
