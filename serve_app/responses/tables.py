"""The SQLite file of stored responses: its tables, and the order in which they are deleted.

A response is a row with the input of its own request, its answer, and the row that it
continues. So a conversation is a branch of a tree, and takes as much room as its texts.

Three things hold of every row and the one that it continues: the latter has the smaller
`seq`, and neither a smaller `used` nor a smaller `expires`. Whoever deletes by the least
`used` or `expires`, and among equals by the largest `seq`, deletes a conversation from its
end: no row is left whose beginning is gone.
"""

from __future__ import annotations

import sqlite3

VERSION = 1

# Times are seconds since 1970. `seq` is never given again: a row whose predecessor was
# deleted must not find another's in its place.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    previous INTEGER,
    bytes INTEGER NOT NULL,
    -- Of the input and the output alone.
    items INTEGER NOT NULL,
    used REAL NOT NULL,
    expires REAL NOT NULL,
    UNIQUE (tenant, id)
);
CREATE INDEX IF NOT EXISTS responses_used ON responses (tenant, used, seq DESC);
CREATE INDEX IF NOT EXISTS responses_expires ON responses (expires, seq DESC);
-- Apart, because a conversation's rows are written anew each time it goes on.
CREATE TABLE IF NOT EXISTS contents (
    seq INTEGER PRIMARY KEY,
    -- The response object as the client got it, without its output; JSON, as the others.
    head BLOB NOT NULL,
    input BLOB NOT NULL,
    output BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS totals (
    tenant TEXT PRIMARY KEY,
    responses INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
"""


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables of a new file, and set what each connection needs."""
    db.execute("PRAGMA secure_delete = ON")
    if db.execute("PRAGMA user_version").fetchone()[0] >= VERSION:
        return
    # Takes effect on an empty file by being rewritten: it has its first page by now.
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    db.execute("VACUUM")
    db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
