"""Summaries in a SQLite file, which the ingress replicas of one node share.

It is a cache: a file that is damaged is deleted and begun anew. What is deleted or expired is
overwritten, because summaries are made of what clients sent. Times are seconds since 1970.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from router.summaries.keys import Key
from serve_app.config.summaries import SummaryStoreConfig
from serve_app.tenancy.replaceable_file import ReplaceableFile, is_damage
from serve_app.tenancy.sqlite_file import inode_of

FILE_NAME = "summaries.db"

DAY_S = 86_400.0

FRESH_SHARE = 8
"""A use is noted when the last one is older than this part of the time that is kept."""

MAX_KEYS = 400
"""Of one question to SQLite, which takes some hundreds of values at least."""

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS summaries (
    tenant TEXT NOT NULL,
    key BLOB NOT NULL,
    text TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    used REAL NOT NULL,
    PRIMARY KEY (tenant, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS summaries_used ON summaries (tenant, used, bytes);
"""


class SummaryStore:
    """Owns the file. Calls block, and those of several threads take turns.

    Nothing is opened before the first call. They raise `sqlite3.Error` or `OSError`.
    """

    def __init__(self, path: Path, config: SummaryStoreConfig) -> None:
        self.path = path
        self._config = config
        self._idle_s = config.keep_days * DAY_S
        self._file = ReplaceableFile(path, _prepare)

    def find(self, tenant: str, keys: Sequence[Key], now: float) -> dict[Key, str]:
        """The texts that are kept under these keys of a tenant's; they are in use from now on."""
        return self._run(lambda: self._find(tenant, keys, now))

    def keep(self, tenant: str, texts: Mapping[Key, str], now: float) -> dict[Key, str]:
        """Keep what is not kept yet, within the tenant's bounds.

        Returns: the texts that stand under the keys now: the first one of each stays.
        """
        return self._run(lambda: self._keep(tenant, texts, now))

    def sweep(self, now: float) -> None:
        """Delete what has expired, if there is a file."""
        if inode_of(self.path):
            self._run(lambda: self._sweep(now))

    def close(self) -> None:
        self._file.close()

    # -- on the file ----------------------------------------------------------

    def _find(self, tenant: str, keys: Sequence[Key], now: float) -> dict[Key, str]:
        found: dict[Key, str] = {}
        stale: list[tuple[float, str, Key]] = []
        oldest, refresh = now - self._idle_s, now - self._idle_s / FRESH_SHARE
        with self._file.connection() as db:
            for begin in range(0, len(keys), MAX_KEYS):
                some = keys[begin : begin + MAX_KEYS]
                for key, text, used in db.execute(_FIND.format(_marks(some)), (tenant, *some)):
                    if used >= oldest:
                        found[key] = text
                        if used < refresh:
                            stale.append((now, tenant, key))
        if stale:
            with self._file.transaction() as db:
                db.executemany("UPDATE summaries SET used = ? WHERE tenant = ? AND key = ?", stale)
        return found

    def _keep(self, tenant: str, texts: Mapping[Key, str], now: float) -> dict[Key, str]:
        rows = [
            (tenant, key, text, len(text.encode("utf-8", "replace")), now)
            for key, text in texts.items()
        ]
        with self._file.transaction() as db:
            db.execute("DELETE FROM summaries WHERE used < ?", (now - self._idle_s,))
            db.executemany("INSERT OR IGNORE INTO summaries VALUES (?, ?, ?, ?, ?)", rows)
            kept = [db.execute(_FIND.format("?"), (tenant, key)).fetchone()[:2] for key in texts]
            self._prune(db, tenant)
        return dict(kept)

    def _prune(self, db: sqlite3.Connection, tenant: str) -> None:
        """Delete what was used longest ago of a tenant's, until the rest is within its bounds."""
        count, size = db.execute(
            "SELECT count(*), total(bytes) FROM summaries WHERE tenant = ?", (tenant,)
        ).fetchone()
        if count <= self._config.max_count and size <= self._config.max_bytes:
            return
        gone: list[tuple[str, Key]] = []
        for key, own in db.execute(
            "SELECT key, bytes FROM summaries WHERE tenant = ? ORDER BY used", (tenant,)
        ):
            if count <= self._config.max_count and size <= self._config.max_bytes:
                break
            gone.append((tenant, key))
            count, size = count - 1, size - own
        db.executemany("DELETE FROM summaries WHERE tenant = ? AND key = ?", gone)

    def _sweep(self, now: float) -> None:
        with self._file.transaction() as db:
            db.execute("DELETE FROM summaries WHERE used < ?", (now - self._idle_s,))
        with self._file.connection() as db:
            # The log of changes holds what was deleted until it is cut.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _run(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._file.delete()
        return work()


_FIND = "SELECT key, text, used FROM summaries WHERE tenant = ? AND key IN ({})"


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _prepare(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA secure_delete = ON")
    db.executescript(_SCHEMA)
