"""What outlives a process of the tool registry: published versions, and which are promoted.

One SQLite file in the state directory, shared by the ingress replicas. A version is kept as
it was published first, so that an edit of its file is found, whoever made it and whenever.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from serve_app.config.files import wall_s
from serve_app.registry.tool_set import ToolSet
from serve_app.registry.tool_sets import Holdover, Promotion
from serve_app.tenancy.sqlite_file import SqliteFile

FILE_NAME = "tool-sets.db"

DIGEST_BYTES = 8
"""Of a session that is held to its version."""

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS revision (only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    value INTEGER NOT NULL);
INSERT OR IGNORE INTO revision VALUES (1, 0);
CREATE TABLE IF NOT EXISTS versions (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    -- Canonical JSON.
    content TEXT NOT NULL,
    published TEXT NOT NULL,
    PRIMARY KEY (name, version)
);
CREATE TABLE IF NOT EXISTS promoted (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    previous INTEGER,
    at TEXT NOT NULL
);
-- Sessions that began with another version: their digests, one after the other.
CREATE TABLE IF NOT EXISTS held (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    until REAL NOT NULL,
    sessions BLOB NOT NULL,
    PRIMARY KEY (name, version)
);
"""

Key = tuple[str, int]


class Stored(NamedTuple):
    """All of it at one moment; `versions` has digests."""

    versions: dict[Key, str]
    promoted: dict[str, Promotion]
    held: dict[str, Holdover]


class ToolStore:
    """Calls from several threads take turns; nothing is opened before the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SqliteFile(path, _make_tables)

    def revision(self) -> tuple[int, int]:
        """Which state it is in; another one after every change."""
        with self._file.connection() as db:
            row = db.execute("SELECT value FROM revision").fetchone()
            return self._file.inode, int(row[0])

    def read(self) -> Stored:
        with self._file.transaction("DEFERRED") as db:
            rows = db.execute("SELECT name, version, digest FROM versions").fetchall()
            promoted = db.execute("SELECT name, version, previous FROM promoted").fetchall()
            held = db.execute(
                "SELECT name, version, until, sessions FROM held WHERE until > ?", (wall_s(),)
            ).fetchall()
        return Stored(
            {(row[0], row[1]): row[2] for row in rows},
            {row[0]: Promotion(row[1], row[2]) for row in promoted},
            _holdovers(held),
        )

    def content(self, key: Key) -> str:
        """The canonical JSON of a published version."""
        with self._file.connection() as db:
            found = db.execute(
                "SELECT content FROM versions WHERE name = ? AND version = ?", key
            ).fetchone()
        return str(found[0])

    def publish(self, sets: Iterable[ToolSet], *, at: datetime) -> None:
        """Keep versions that are new; of those that are known nothing changes.

        The highest version of a set that has none promoted is: nobody uses another yet.
        """
        with self._file.transaction() as db:
            for one in sorted(sets, key=lambda x: -x.version):
                row = (one.name, one.version, one.digest, one.content, at.isoformat())
                db.execute("INSERT OR IGNORE INTO versions VALUES (?, ?, ?, ?, ?)", row)
                db.execute(
                    "INSERT OR IGNORE INTO promoted VALUES (?, ?, NULL, ?)",
                    (one.name, one.version, at.isoformat()),
                )
            _bump(db)

    def restore(
        self, sets: Iterable[ToolSet], promoted: Mapping[str, Promotion], *, at: datetime
    ) -> None:
        """Keep what a process knows from another file, beside what is in this one."""
        with self._file.transaction() as db:
            rows = [(x.name, x.version, x.digest, x.content, at.isoformat()) for x in sets]
            db.executemany("INSERT OR IGNORE INTO versions VALUES (?, ?, ?, ?, ?)", rows)
            names = [(k, x.version, x.previous, at.isoformat()) for k, x in promoted.items()]
            db.executemany("INSERT OR IGNORE INTO promoted VALUES (?, ?, ?, ?)", names)
            _bump(db)

    def promote(
        self,
        name: str,
        promotion: Promotion,
        held: Mapping[bytes, int],
        *,
        until: float,
        at: datetime,
    ) -> bool:
        """Have a set's name stand for another version, unless it has changed meanwhile.

        Args:
            name: of the set.
            promotion: `previous` is what the name stands for now.
            held: sessions that stay, by digest, and the version that each stays on.
            until: when they go, too, in seconds since the epoch.
            at: now.

        """
        sessions: dict[int, list[bytes]] = defaultdict(list)
        for digest, version in held.items():
            sessions[version].append(digest)
        with self._file.transaction() as db:
            changed = db.execute(
                "UPDATE promoted SET version = ?, previous = ?, at = ? WHERE name = ?"
                " AND version = ?",
                (promotion.version, promotion.previous, at.isoformat(), name, promotion.previous),
            )
            if changed.rowcount != 1:
                return False
            db.execute("DELETE FROM held WHERE name = ?", (name,))
            rows = [(name, version, until, b"".join(x)) for version, x in sessions.items()]
            db.executemany("INSERT INTO held VALUES (?, ?, ?, ?)", rows)
            _bump(db)
        return True

    def release(self, name: str) -> None:
        """Let go of the sessions that stayed on another version of a set."""
        with self._file.transaction() as db:
            db.execute("DELETE FROM held WHERE name = ?", (name,))
            _bump(db)

    def retire(self, name: str) -> None:
        """Have a set's name stand for nothing. Its versions stay known, so none can change."""
        with self._file.transaction() as db:
            db.execute("DELETE FROM promoted WHERE name = ?", (name,))
            db.execute("DELETE FROM held WHERE name = ?", (name,))
            _bump(db)

    def close(self) -> None:
        self._file.close()


def _make_tables(db: sqlite3.Connection) -> None:
    if db.execute("PRAGMA user_version").fetchone()[0] < _VERSION:
        db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version = {_VERSION};COMMIT;")


def _bump(db: sqlite3.Connection) -> None:
    db.execute("UPDATE revision SET value = value + 1")


def _holdovers(rows: list[tuple[str, int, float, bytes]]) -> dict[str, Holdover]:
    versions: dict[str, dict[bytes, int]] = defaultdict(dict)
    until: dict[str, float] = {}
    for name, version, end, sessions in rows:
        until[name] = end
        for begin in range(0, len(sessions), DIGEST_BYTES):
            versions[name][sessions[begin : begin + DIGEST_BYTES]] = version
    return {name: Holdover(until[name], found) for name, found in versions.items()}
