"""The tenancy store in one SQLite file, shared by the processes of one node."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from serve_app.config.tenants import KeyConfig
from serve_app.tenancy.sqlite_file import SqliteFile
from serve_app.tenancy.sqlite_tables import make_tables
from serve_app.tenancy.store import (
    Batch,
    Counts,
    Epoch,
    Finished,
    Keys,
    Open,
    Position,
    Slot,
    StoredKey,
    Totals,
)


class SqliteStore:
    """The store of one node. Calls from several threads take turns.

    Nothing is opened before the first call. A damaged file is an error and stays where it is: a
    new one in its place would bring revoked keys back to life and quotas to zero.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SqliteFile(path, make_tables)

    @property
    def place(self) -> str:
        return str(self.path)

    # -- keys ---------------------------------------------------------------

    def add_key(self, stored: StoredKey) -> None:
        key = stored.key
        expires = key.expires.isoformat() if key.expires else None
        created = stored.created.isoformat()
        row = (key.id, stored.tenant, key.salt, key.hash, expires, key.admin, key.proxy, created)
        with self._file.transaction() as db:
            db.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            _bump(db, "keys")

    def revoke(self, key_id: str, *, at: datetime) -> None:
        with self._file.transaction() as db:
            db.execute("INSERT OR IGNORE INTO revocations VALUES (?, ?)", (key_id, at.isoformat()))
            _bump(db, "keys")

    def keys_version(self) -> tuple[int, int]:
        with self._file.connection() as db:
            return self._file.inode, _version(db, "keys")

    def keys(self) -> Keys:
        with self._file.transaction("DEFERRED") as db:
            version = self._file.inode, _version(db, "keys")
            rows = db.execute(
                "SELECT id, tenant, salt, hash, expires, admin, proxy, created FROM keys"
            ).fetchall()
            revoked = frozenset(row[0] for row in db.execute("SELECT id FROM revocations"))
        return Keys(version, {row[0]: _stored_key(row) for row in rows}, revoked)

    # -- usage --------------------------------------------------------------

    def record(self, writer: str, batch: Batch) -> None:
        with self._file.transaction() as db:
            if _last_batch(db, writer) >= batch.number:
                return
            _add(db, batch.counts.items())
            db.execute(
                "INSERT OR REPLACE INTO writers VALUES (?, ?, ?, ?, 0)",
                (writer, batch.number, *batch.position),
            )
            db.execute("DELETE FROM open WHERE writer = ?", (writer,))
            rows = [
                (writer, x.id, *x.slot, x.counts.prompt, x.counts.completion, x.reserved)
                for x in batch.open
            ]
            db.executemany("INSERT INTO open VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def recover(self, writer: str, replay: Callable[[Position], Iterable[Finished]]) -> None:
        with self._file.transaction() as db:
            found = db.execute(
                "SELECT file, offset, is_recovered FROM writers WHERE writer = ?", (writer,)
            ).fetchone()
            if found and found[2]:
                return
            # The usage log may have a request twice over a rotation that failed half-way.
            ended = {x.id: x for x in replay(Position(*found[:2]) if found else Position())}
            _add(db, ((x.slot, x.counts) for x in ended.values()))
            _add(db, ((x.slot, x.counts) for x in _opened(db, writer) if x.id not in ended))
            db.execute("DELETE FROM open WHERE writer = ?", (writer,))
            db.execute("INSERT OR REPLACE INTO writers VALUES (?, 0, 0, 0, 1)", (writer,))

    def forget(self, writer: str) -> None:
        with self._file.transaction() as db:
            db.execute("DELETE FROM writers WHERE writer = ? AND is_recovered", (writer,))

    def totals(self, since: int, writer: str) -> Totals:
        with self._file.transaction("DEFERRED") as db:
            version = _version(db, "usage")
            # A file that was replaced begins to count anew.
            is_whole = since <= 0 or version < since
            rows = db.execute(
                "SELECT period, tenant, requests, prompt, cached, completion FROM totals"
                " WHERE version > ?",
                (0 if is_whole else since,),
            ).fetchall()
            reserved = db.execute(
                "SELECT tenant, sum(reserved) FROM open WHERE writer != ? GROUP BY tenant",
                (writer,),
            ).fetchall()
        used = {(row[0], row[1]): Counts(*row[2:]) for row in rows}
        return Totals(version, used, dict(reserved), is_whole)

    def usage(self, first_day: str, last_day: str) -> dict[Slot, Counts]:
        with self._file.connection() as db:
            rows = db.execute(
                "SELECT day, tenant, lane, requests, prompt, cached, completion FROM usage"
                " WHERE day BETWEEN ? AND ? ORDER BY day, tenant, lane",
                (first_day, last_day),
            ).fetchall()
        return {Slot(*row[:3]): Counts(*row[3:]) for row in rows}

    def sweep(self, before_day: str) -> None:
        with self._file.transaction() as db:
            db.execute("DELETE FROM usage WHERE day < ?", (before_day,))
            # A month's text sorts before its days': only whole months are before it.
            db.execute(
                "DELETE FROM totals WHERE period < ? AND period != ?",
                (before_day, before_day[:7]),
            )

    # -- the ledger's epoch ---------------------------------------------------

    def next_epoch(self, *, above: int = 0) -> tuple[int, Epoch]:
        with self._file.transaction() as db:
            last, boot, until, held_by = db.execute(
                "SELECT epoch, boot, granted_until, holders FROM ledger"
            ).fetchone()
            number: int = max(last, above) + 1
            # What was granted stays: it has not run out because somebody else came.
            db.execute("UPDATE ledger SET epoch = ?", (number,))
        holders = None if held_by is None else frozenset(json.loads(held_by))
        return number, Epoch(last, boot, until, holders)

    def extend_epoch(self, epoch: Epoch) -> bool:
        holders = None if epoch.holders is None else json.dumps(sorted(epoch.holders))
        with self._file.transaction() as db:
            changed = db.execute(
                "UPDATE ledger SET boot = ?, granted_until = ?, holders = ? WHERE epoch = ?",
                (epoch.boot, epoch.granted_until, holders, epoch.number),
            )
            return changed.rowcount == 1

    def epoch(self) -> int:
        with self._file.connection() as db:
            return int(db.execute("SELECT epoch FROM ledger").fetchone()[0])

    def close(self) -> None:
        self._file.close()


def _version(db: sqlite3.Connection, name: str) -> int:
    row = db.execute("SELECT value FROM versions WHERE name = ?", (name,)).fetchone()
    return int(row[0])


def _bump(db: sqlite3.Connection, name: str) -> int:
    db.execute("UPDATE versions SET value = value + 1 WHERE name = ?", (name,))
    return _version(db, name)


def _last_batch(db: sqlite3.Connection, writer: str) -> int:
    row = db.execute("SELECT batch FROM writers WHERE writer = ?", (writer,)).fetchone()
    return int(row[0]) if row else -1


_ADD_USAGE = """
INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, tenant, lane) DO UPDATE SET
    requests = requests + excluded.requests,
    prompt = prompt + excluded.prompt,
    cached = cached + excluded.cached,
    completion = completion + excluded.completion
"""

_ADD_TOTAL = """
INSERT INTO totals VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (period, tenant) DO UPDATE SET
    requests = requests + excluded.requests,
    prompt = prompt + excluded.prompt,
    cached = cached + excluded.cached,
    completion = completion + excluded.completion,
    version = excluded.version
"""


def _add(db: sqlite3.Connection, counts: Iterable[tuple[Slot, Counts]]) -> None:
    given = list(counts)
    if not given:
        return
    version = _bump(db, "usage")
    db.executemany(_ADD_USAGE, [(*slot, *x) for slot, x in given])
    periods = [(period, slot, x) for slot, x in given for period in (slot.day, slot.day[:7])]
    db.executemany(_ADD_TOTAL, [(period, slot.tenant, *x, version) for period, slot, x in periods])


def _opened(db: sqlite3.Connection, writer: str) -> list[Open]:
    """A writer's open requests that used something."""
    rows = db.execute(
        "SELECT id, day, tenant, lane, prompt, completion, reserved FROM open"
        " WHERE writer = ? AND prompt + completion > 0",
        (writer,),
    ).fetchall()
    return [Open(row[0], Slot(*row[1:4]), Counts(1, row[4], 0, row[5]), row[6]) for row in rows]


def _stored_key(row: tuple[Any, ...]) -> StoredKey:
    key_id, tenant, salt, digest, expires, admin, proxy, created = row
    key = KeyConfig(
        id=key_id,
        salt=salt,
        hash=digest,
        expires=datetime.fromisoformat(expires) if expires else None,
        admin=bool(admin),
        proxy=bool(proxy),
    )
    return StoredKey(tenant, key, datetime.fromisoformat(created))
