"""Stored responses in one SQLite file that all ingress replicas of a node share.

Calls block, and raise `sqlite3.Error` or `OSError`. No transaction deletes more than one
piece, so that another process never waits long for its turn.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path

from serve_app.config.records import ResponsesConfig
from serve_app.responses import rows
from serve_app.responses.rows import (
    Content,
    Exchange,
    Link,
    NewResponse,
    Outcome,
    Put,
    Swept,
    Total,
    Transaction,
)
from serve_app.responses.tables import prepare
from serve_app.tenancy.replaceable_file import ReplaceableFile

PIECE_PAGES = 256
"""Given back to the file system at once."""

MAX_ROUNDS = 1_000
"""Pieces that one new response may push out."""


class TooLong(Exception):
    """A conversation is over the bytes that may be read of it."""


class ResponseStore:
    """Owns the file. Nothing is opened before the first call."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = ReplaceableFile(path, prepare)

    def put(self, new: NewResponse, bounds: ResponsesConfig, *, now: float) -> Put:
        """Store a response; the tenant's least recently used ones make room for it."""
        evicted = 0
        for _ in range(MAX_ROUNDS):
            done = self._file.run(lambda db: rows.put_or_evict(db, new, bounds, now))
            evicted += done.evicted
            if done.outcome is not None:
                return Put(done.outcome, evicted)
        return Put(Outcome.FAILED, evicted)

    def get(self, tenant: str, response_id: str, *, now: float) -> Content | None:
        """Return a tenant's response; None if it has none of that id, or not any more."""

        def read(db: sqlite3.Connection) -> Content | None:
            found = db.execute(rows.GET, (tenant, response_id, now)).fetchone()
            return None if found is None else Content(*found)

        return self._file.run(read)

    def conversation(
        self, tenant: str, response_id: str, *, now: float, most_bytes: int
    ) -> list[Exchange] | None:
        """Return the items of a response and of all that it continues, the first one first.

        None: it is not there, or an earlier one is not. Raises TooLong, before anything long
        is read.
        """

        def read(db: sqlite3.Connection) -> list[Exchange] | None:
            # One reading of the file: what is deleted meanwhile is still there in it.
            db.execute("BEGIN DEFERRED")
            try:
                chain = rows.chain_of(db, tenant, response_id, now)
                if chain is None:
                    return None
                if sum(link.items for link in chain) > most_bytes:
                    raise TooLong
                found = (db.execute(rows.ITEMS, (x.seq,)).fetchone() for x in reversed(chain))
                return [Exchange(*row) for row in found]
            finally:
                db.rollback()

        return self._file.run(read)

    def delete(self, tenant: str, response_id: str, *, now: float) -> bool:
        """Delete one response; return whether it was there. What continues it stays."""

        def work(db: sqlite3.Connection) -> bool:
            with Transaction(db):
                found = db.execute(rows.FIND, (tenant, response_id, now)).fetchone()
                if found is not None:
                    rows.delete_rows(db, tenant, [Link(*found)])
            return found is not None

        return self._file.run(work)

    def forget(self, tenant: str) -> int:
        """Delete a piece of all that a tenant has; return how many responses that was."""

        def work(db: sqlite3.Connection) -> int:
            with Transaction(db):
                piece = rows.piece_of(db.execute(rows.OLDEST, (tenant, rows.PIECE_ROWS)))
                rows.delete_rows(db, tenant, piece)
            _shrink(db)
            return len(piece)

        return self._file.run(work)

    def sweep(self, bounds: Mapping[str, ResponsesConfig], *, now: float) -> Swept:
        """Delete a piece of what has expired or is over its tenant's bounds.

        A tenant without bounds here (it left the file, or stores nothing any more) keeps what
        it has until that expires.
        """

        def work(db: sqlite3.Connection) -> Swept:
            gone = Swept(rows.expire(db, now), 0)
            for tenant, limits in bounds.items():
                if not any(gone) and rows.is_over(db, tenant, limits, now):
                    gone = rows.trim(db, tenant, limits, now)
            _shrink(db)
            return gone

        gone = self._file.run(work)
        self._file.forget_damaged(now=now)
        return gone

    def totals(self) -> dict[str, Total]:
        """What each tenant has stored."""

        def read(db: sqlite3.Connection) -> dict[str, Total]:
            found = db.execute("SELECT tenant, responses, bytes FROM totals").fetchall()
            return {tenant: Total(*counts) for tenant, *counts in found}

        return self._file.run(read)

    def close(self) -> None:
        """Let go of the file; the next call opens it again."""
        self._file.close()


def _shrink(db: sqlite3.Connection) -> None:
    """Give some of the file's free pages back."""
    # A step a page, and `execute` takes one step.
    db.executescript(f"PRAGMA incremental_vacuum({PIECE_PAGES})")
