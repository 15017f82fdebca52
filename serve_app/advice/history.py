"""The history on disk: points by age, the newest requests, and what was made of them.

One SQLite file, private to its owner. Points are kept in three widths: as they are taken for six
hours, five minutes for two weeks, hours for as long as `keep_days` says. A step's points are one
row, about 1 KB for four lanes: 10 MB after a year. One of the ingress replicas of a node writes,
the one that holds the lock beside the file; the others read.

A damaged file can be done without: it is deleted, and a new one begun.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from router.advice.trigger import DAY, HOUR
from serve_app.advice.judging import FIVE_MINUTES, Judging, merged
from serve_app.advice.signals import Values
from serve_app.config.advice import AdviceConfig
from serve_app.config.private_files import private_folder
from serve_app.tenancy.replaceable_file import ReplaceableFile, is_damage

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

FINE_KEPT_S = 6 * HOUR
MIDDLE_KEPT_S = 14 * DAY
FAULTS = (sqlite3.Error, OSError)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS points (
    step REAL NOT NULL, at REAL NOT NULL, data BLOB NOT NULL, PRIMARY KEY (step, at)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (name TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
"""


class History:
    """The history's file. Calls block, and raise `sqlite3.Error`, `OSError` or `Damaged`.

    Args:
        path: of the file.
        config: how long and how much is kept.
        repairs: whether a damaged file is begun anew; who only reads leaves it alone.

    """

    def __init__(self, path: Path, config: AdviceConfig, *, repairs: bool = True) -> None:
        self._repairs = repairs
        self.path = path
        self._config = config
        self._file = ReplaceableFile(path, _prepare)
        self._lock: int | None = None

    # -- who writes -----------------------------------------------------------

    def try_to_write(self) -> bool:
        """Return whether this process is the one that writes; it stays so until it ends."""
        if self._lock is not None:
            return True
        private_folder(self.path.parent)
        fd = os.open(f"{self.path}.writer", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._lock = fd
        return True

    def close(self) -> None:
        """Let go of the file; another process may write from now on."""
        self._file.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- points ---------------------------------------------------------------

    def add(self, at: float, values: Values) -> list[tuple[float, float, Values]]:
        """Keep a step's points; return those of the wider steps that have ended with it.

        Each with its width and its end.
        """

        def work(db: sqlite3.Connection) -> list[tuple[float, float, Values]]:
            period = self._config.period_s
            last = db.execute("SELECT max(at) FROM points WHERE step = ?", (period,)).fetchone()[0]
            _keep(db, period, at, values)
            if last is None:
                return []
            wider = []
            for narrow, wide in ((period, FIVE_MINUTES), (FIVE_MINUTES, HOUR)):
                end = at // wide * wide
                if last < end:
                    found = merged(x for _, x in _between(db, narrow, end - wide, end))
                    if found:
                        _keep(db, wide, end, found)
                        wider.append((wide, end, found))
            return wider

        return self._run(work)

    def points(self, step_s: float, after: float, until: float) -> list[tuple[float, Values]]:
        """Return the points of a width that ended in (after, until], oldest first."""
        return self._run(lambda db: list(_between(db, step_s, after, until)), "DEFERRED")

    def last(self) -> float | None:
        """Return when the newest point ended; None: there is none."""

        def work(db: sqlite3.Connection) -> float | None:
            found: float | None = db.execute("SELECT max(at) FROM points").fetchone()[0]
            return found

        return self._run(work, "DEFERRED")

    def prune(self, now: float) -> None:
        """Delete what is too old, and the oldest of what is too much."""

        def work(db: sqlite3.Connection) -> None:
            ages = (
                (self._config.period_s, FINE_KEPT_S),
                (FIVE_MINUTES, MIDDLE_KEPT_S),
                (HOUR, self._config.keep_days * DAY),
            )
            for step, kept_s in ages:
                db.execute("DELETE FROM points WHERE step = ? AND at <= ?", (step, now - kept_s))
            # Another period was configured before.
            db.execute("DELETE FROM points WHERE step NOT IN (?, ?, ?)", [step for step, _ in ages])
            while _bytes(db) > self._config.max_bytes and _delete_oldest(db):
                pass

        self._run(work)

    # -- what else is kept ----------------------------------------------------

    def keep(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name, in place of the last."""
        data = zlib.compress(json.dumps(value, allow_nan=False, default=str).encode(), 3)

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (name, data))

        self._run(work)

    def kept(self, name: str) -> Any:
        """Return the value under a name; None: there is none."""

        def work(db: sqlite3.Connection) -> Any:
            row = db.execute("SELECT data FROM kept WHERE name = ?", (name,)).fetchone()
            return None if row is None else _unpacked(row[0])

        return self._run(work, "DEFERRED")

    def _run(self, work: Callable[[sqlite3.Connection], T], kind: str = "IMMEDIATE") -> T:
        with self._file.turn:
            try:
                return self._once(work, kind)
            except (sqlite3.DatabaseError, Damaged) as error:
                if isinstance(error, sqlite3.DatabaseError) and not is_damage(error):
                    raise
                if not self._repairs:
                    raise Damaged from error
                self._file.delete()
            return self._once(work, kind)

    def _once(self, work: Callable[[sqlite3.Connection], T], kind: str) -> T:
        with self._file.transaction(kind) as db:
            return work(db)


class Damaged(Exception):
    """The file is no history, or not any more."""


def _prepare(db: sqlite3.Connection) -> None:
    db.executescript(_SCHEMA)


def _keep(db: sqlite3.Connection, step_s: float, at: float, values: Values) -> None:
    flat = {f"{signal}|{subject}": pair for (signal, subject), pair in values.items()}
    data = zlib.compress(json.dumps(flat, separators=(",", ":")).encode(), 3)
    db.execute("INSERT OR REPLACE INTO points VALUES (?, ?, ?)", (step_s, at, data))


def _between(
    db: sqlite3.Connection, step_s: float, after: float, until: float
) -> Iterable[tuple[float, Values]]:
    rows = db.execute(
        "SELECT at, data FROM points WHERE step = ? AND at > ? AND at <= ? ORDER BY at",
        (step_s, after, until),
    )
    for at, data in rows.fetchall():
        found = _unpacked(data)
        values: Values = {}
        for name, (total, weight) in found.items():
            signal, _, subject = name.partition("|")
            values[signal, subject] = float(total), float(weight)
        yield at, values


def _unpacked(data: bytes) -> Any:
    try:
        return json.loads(zlib.decompress(data))
    except (zlib.error, ValueError) as error:
        raise Damaged from error


def _bytes(db: sqlite3.Connection) -> int:
    pages, free, size = (
        db.execute(f"PRAGMA {x}").fetchone()[0]
        for x in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _delete_oldest(db: sqlite3.Connection) -> bool:
    """Delete a tenth of the points of the width that takes most room; False: there are none."""
    row = db.execute(
        "SELECT step, count(*) FROM points GROUP BY step ORDER BY total(length(data)) DESC"
    ).fetchone()
    if row is None:
        return False
    step, count = row
    db.execute(
        "DELETE FROM points WHERE step = ? AND at IN (SELECT at FROM points WHERE step = ? "
        "ORDER BY at LIMIT ?)",
        (step, step, max(1, count // 10)),
    )
    return True


def refill(judging: Judging, history: History, now: float) -> None:
    """Have a judging go through the points of a history up to a time."""
    for step in sorted(judging.wanted):
        for at, values in history.points(step, now - judging.memory_s(step), now):
            judging.add(step, at, values)
