"""The SQLite file of feedback: its tables."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from serve_app.tenancy.replaceable_file import ReplaceableFile

# Times are seconds since 1970. A feedback row is whole without its request's,
# which goes after days: it has a copy of what training and experiments read. `asked` is when
# its request ended, of two the earlier one.
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
    experiment TEXT,
    arm TEXT,
    session TEXT,
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
    experiment TEXT,
    arm TEXT,
    session TEXT,
    other_experiment TEXT,
    other_arm TEXT,
    asked REAL,
    UNIQUE (tenant, request_id, kind)
);
CREATE INDEX IF NOT EXISTS feedback_at ON feedback (at);
CREATE INDEX IF NOT EXISTS feedback_prompt ON feedback (prompt_expires)
    WHERE prompt IS NOT NULL;
"""


_OF_EXPERIMENTS = ("experiment TEXT", "arm TEXT", "session TEXT")
_ADDED = {
    "requests": _OF_EXPERIMENTS,
    "feedback": (*_OF_EXPERIMENTS, "other_experiment TEXT", "other_arm TEXT", "asked REAL"),
}
"""Columns that a file of an earlier version does not have, each with its type."""


def feedback_file(path: Path) -> ReplaceableFile:
    """The file at a path, opened at its first use."""
    return ReplaceableFile(path, _prepare)


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA secure_delete = ON")
    db.executescript(_SCHEMA)
    with db:
        db.execute("BEGIN IMMEDIATE")
        for table, columns in _ADDED.items():
            known = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
            for column in columns:
                if column.split()[0] not in known:
                    db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
