"""The SQLite file of experiments: what was counted, and what was stopped.

All ingress replicas of a node share it, and it outlives them. What is counted is added every
few seconds, so a replica that is killed takes the last of its counts along.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from serve_app.tenancy.replaceable_file import ReplaceableFile

FILE_NAME = "experiments.db"


class Cell(NamedTuple):
    """What a count is of.

    Attributes:
        key: of an experiment as it is defined.
        arm: `control`, `treatment` or `shadow`.
        day: since it began, from 0.
        name: of the count.

    """

    key: str
    arm: str
    day: int
    name: str


Counts = dict[Cell, float]


class Stop(NamedTuple):
    """Why, and when (seconds since 1970), a treatment was stopped."""

    why: str
    at: float


# A key has the name and a digest of the definition: a changed experiment begins anew.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS store (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counts (
    key TEXT NOT NULL,
    arm TEXT NOT NULL,
    day INTEGER NOT NULL,
    name TEXT NOT NULL,
    value REAL NOT NULL,
    PRIMARY KEY (key, arm, day, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS divisions (
    name TEXT PRIMARY KEY,
    key TEXT NOT NULL,
    since REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS stops (
    key TEXT PRIMARY KEY,
    why TEXT NOT NULL,
    at REAL NOT NULL
);
"""

_ADD = """
INSERT INTO counts (key, arm, day, name, value) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (key, arm, day, name) DO UPDATE SET value = value + excluded.value
"""

_DIVIDE = """
INSERT INTO divisions (name, key, since) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET key = excluded.key, since = excluded.since
WHERE key != excluded.key
"""


class ExperimentStore:
    """Owns the file. Calls block; those of several threads take turns."""

    def __init__(self, path: Path) -> None:
        self._file = ReplaceableFile(path, _prepare)

    def add(self, counts: Counts) -> None:
        """Add what was counted since the last time, in one transaction."""

        def work(db: sqlite3.Connection) -> None:
            with db:
                db.execute("BEGIN IMMEDIATE")
                db.executemany(_ADD, [(*cell, value) for cell, value in counts.items()])

        if counts:
            self._file.run(work)

    def counts(self, keys: list[str]) -> Counts:
        """Return all that was counted of experiments."""
        marks = ", ".join("?" * len(keys))
        query = f"SELECT key, arm, day, name, value FROM counts WHERE key IN ({marks})"  # noqa: S608
        rows = self._file.run(lambda db: db.execute(query, keys).fetchall())
        return {Cell(*row[:4]): row[4] for row in rows}

    def stop(self, stops: Mapping[str, Stop]) -> None:
        """Keep that treatments were stopped; the first word counts."""

        def work(db: sqlite3.Connection) -> None:
            with db:
                db.execute("BEGIN IMMEDIATE")
                rows = [(key, *stop) for key, stop in stops.items()]
                db.executemany("INSERT OR IGNORE INTO stops (key, why, at) VALUES (?, ?, ?)", rows)

        if stops:
            self._file.run(work)

    def stops(self) -> dict[str, Stop]:
        """Return all that was ever stopped."""
        rows = self._file.run(lambda db: db.execute("SELECT key, why, at FROM stops").fetchall())
        return {key: Stop(why, at) for key, why, at in rows}

    def since(self, divisions: Mapping[str, str], now: float) -> dict[str, float]:
        """Return since when each experiment divides requests as it does, by its name.

        `divisions`: how it does, by name; another way than before begins now, also one that
        there was earlier: what was rated in between is of another.
        """

        def work(db: sqlite3.Connection) -> dict[str, float]:
            with db:
                db.execute("BEGIN IMMEDIATE")
                db.executemany(_DIVIDE, [(*division, now) for division in divisions.items()])
                known = dict(db.execute("SELECT name, since FROM divisions"))
            return {name: known[name] for name in divisions}

        return self._file.run(work)

    def name(self) -> str:
        """Return what tells this file from those of other nodes."""
        return str(self._file.run(lambda db: db.execute("SELECT id FROM store").fetchone()[0]))

    def close(self) -> None:
        self._file.close()


def _prepare(db: sqlite3.Connection) -> None:
    db.executescript(_SCHEMA)
    with db:
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "INSERT INTO store (id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM store)",
            (uuid4().hex,),
        )
