"""The tables of the tenancy store's SQLite file."""

from __future__ import annotations

import sqlite3

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


def make_tables(db: sqlite3.Connection) -> None:
    """Make the tables that an earlier version lacks: they are only ever added."""
    if db.execute("PRAGMA user_version").fetchone()[0] < VERSION:
        db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
