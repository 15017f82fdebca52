"""The tenancy store in a Postgres database, shared by the processes of several nodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pg8000.native import Connection

from serve_app.config.records import PostgresConfig
from serve_app.config.tenants import KeyConfig
from serve_app.tenancy.postgres.connection import PostgresConnection
from serve_app.tenancy.postgres.counting import add_usage, bump, slots, version_of
from serve_app.tenancy.postgres.tables import make_tables
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

SILENT_S = 600.0
"""A writer with open requests adds a batch every second; this one's node is gone."""

SNAPSHOT = "REPEATABLE READ READ ONLY"


class PostgresStore:
    """The store of several nodes. Calls from several threads take turns.

    Each call is one transaction. Two that add usage take the row `usage` of `versions` first,
    so that whoever reads a version has everything of it and of those before.

    Args:
        path: what the file store of this node would be: the usage logs are beside it.
        silent_s: seconds without a batch after which a writer holds nothing any more. What its
            open requests used is added once its own node recovers it.

    """

    def __init__(self, config: PostgresConfig, path: Path, *, silent_s: float = SILENT_S) -> None:
        self._silent_s = silent_s
        self.path = path
        self.place = config.place
        self._server = PostgresConnection(config, make_tables)

    # -- keys ---------------------------------------------------------------

    def add_key(self, stored: StoredKey) -> None:
        key = stored.key
        with self._server.transaction() as db:
            db.run(
                "INSERT INTO keys VALUES"
                " (:id, :tenant, :salt, :hash, :expires, :admin, :proxy, :created)",
                id=key.id,
                tenant=stored.tenant,
                salt=key.salt,
                hash=key.hash,
                expires=key.expires.isoformat() if key.expires else None,
                admin=key.admin,
                proxy=key.proxy,
                created=stored.created.isoformat(),
            )
            bump(db, "keys")

    def revoke(self, key_id: str, *, at: datetime) -> None:
        with self._server.transaction() as db:
            db.run(
                "INSERT INTO revocations VALUES (:id, :at) ON CONFLICT DO NOTHING",
                id=key_id,
                at=at.isoformat(),
            )
            bump(db, "keys")

    def keys_version(self) -> tuple[int, int]:
        with self._server.transaction(SNAPSHOT) as db:
            return _keys_version(db)

    def keys(self) -> Keys:
        with self._server.transaction(SNAPSHOT) as db:
            version = _keys_version(db)
            rows = db.run("SELECT id, tenant, salt, hash, expires, admin, proxy, created FROM keys")
            revoked = frozenset(row[0] for row in db.run("SELECT id FROM revocations"))
        return Keys(version, {row[0]: _stored_key(row) for row in rows}, revoked)

    # -- usage --------------------------------------------------------------

    def record(self, writer: str, batch: Batch) -> None:
        with self._server.transaction() as db:
            if _last_batch(db, writer) >= batch.number:
                return
            add_usage(db, batch.counts.items())
            db.run(
                'UPDATE writers SET batch = :batch, file = :file, "offset" = :offset,'
                " is_recovered = false, seen = now() WHERE writer = :writer",
                writer=writer,
                batch=batch.number,
                file=batch.position.file,
                offset=batch.position.offset,
            )
            db.run("DELETE FROM open WHERE writer = :writer", writer=writer)
            given = list(batch.open)
            if given:
                db.run(
                    "INSERT INTO open SELECT :writer, * FROM unnest("
                    "CAST(:ids AS bigint[]), CAST(:days AS text[]), CAST(:tenants AS text[]),"
                    " CAST(:lanes AS text[]), CAST(:prompts AS bigint[]),"
                    " CAST(:completions AS bigint[]), CAST(:reserved AS double precision[]))",
                    writer=writer,
                    ids=[x.id for x in given],
                    prompts=[x.counts.prompt for x in given],
                    completions=[x.counts.completion for x in given],
                    reserved=[float(x.reserved) for x in given],
                    **slots([x.slot for x in given]),
                )

    def recover(self, writer: str, replay: Callable[[Position], Iterable[Finished]]) -> None:
        with self._server.transaction() as db:
            _last_batch(db, writer)
            file, offset, is_recovered = db.run(
                'SELECT file, "offset", is_recovered FROM writers WHERE writer = :writer',
                writer=writer,
            )[0]
            if is_recovered:
                return
            # The usage log may have a request twice over a rotation that failed half-way.
            ended = {x.id: x for x in replay(Position(file, offset))}
            counted = [(x.slot, x.counts) for x in ended.values()]
            counted += [(x.slot, x.counts) for x in _opened(db, writer) if x.id not in ended]
            add_usage(db, counted)
            db.run("DELETE FROM open WHERE writer = :writer", writer=writer)
            db.run(
                'UPDATE writers SET batch = 0, file = 0, "offset" = 0, is_recovered = true'
                " WHERE writer = :writer",
                writer=writer,
            )

    def forget(self, writer: str) -> None:
        with self._server.transaction() as db:
            db.run("DELETE FROM writers WHERE writer = :writer AND is_recovered", writer=writer)

    def totals(self, since: int, writer: str) -> Totals:
        with self._server.transaction(SNAPSHOT) as db:
            version = version_of(db, "usage")
            # A database that was restored begins to count from where it was.
            is_whole = since <= 0 or version < since
            rows = db.run(
                "SELECT period, tenant, requests, prompt, cached, completion FROM totals"
                " WHERE version > :since",
                since=0 if is_whole else since,
            )
            reserved = db.run(
                "SELECT tenant, sum(reserved) FROM open JOIN writers USING (writer)"
                " WHERE writer != :writer"
                " AND seen > now() - CAST(:silent AS double precision) * interval '1 second'"
                " GROUP BY tenant",
                writer=writer,
                silent=self._silent_s,
            )
        used = {(row[0], row[1]): Counts(*row[2:]) for row in rows}
        return Totals(version, used, {row[0]: row[1] for row in reserved}, is_whole)

    def usage(self, first_day: str, last_day: str) -> dict[Slot, Counts]:
        with self._server.transaction(SNAPSHOT) as db:
            rows = db.run(
                "SELECT day, tenant, lane, requests, prompt, cached, completion FROM usage"
                " WHERE day BETWEEN :first AND :last ORDER BY day, tenant, lane",
                first=first_day,
                last=last_day,
            )
        return {Slot(*row[:3]): Counts(*row[3:]) for row in rows}

    def usage_of(self, tenant: str, days: Sequence[str]) -> dict[Slot, Counts]:
        with self._server.transaction(SNAPSHOT) as db:
            rows = db.run(
                "SELECT day, tenant, lane, requests, prompt, cached, completion FROM usage"
                " WHERE day = ANY(CAST(:days AS text[])) AND tenant = :tenant ORDER BY day, lane",
                days=list(days),
                tenant=tenant,
            )
        return {Slot(*row[:3]): Counts(*row[3:]) for row in rows}

    def sweep(self, before_day: str) -> None:
        with self._server.transaction() as db:
            db.run("DELETE FROM usage WHERE day < :day", day=before_day)
            # A month's text sorts before its days': only whole months are before it.
            db.run(
                "DELETE FROM totals WHERE period < :day AND period != :month",
                day=before_day,
                month=before_day[:7],
            )

    # -- the ledger's epoch ---------------------------------------------------

    def next_epoch(self, *, above: int = 0) -> tuple[int, Epoch]:
        with self._server.transaction() as db:
            last, boot, until, held_by = db.run(
                "SELECT epoch, boot, granted_until, holders FROM ledger FOR UPDATE"
            )[0]
            number: int = max(last, above) + 1
            # What was granted stays: it has not run out because somebody else came.
            db.run("UPDATE ledger SET epoch = :number", number=number)
        holders = None if held_by is None else frozenset(json.loads(held_by))
        return number, Epoch(last, boot, until, holders)

    def extend_epoch(self, epoch: Epoch) -> bool:
        with self._server.transaction() as db:
            changed = db.run(
                "UPDATE ledger SET boot = :boot, granted_until = :until, holders = :holders"
                " WHERE epoch = :number RETURNING epoch",
                boot=epoch.boot,
                until=epoch.granted_until,
                holders=None if epoch.holders is None else json.dumps(sorted(epoch.holders)),
                number=epoch.number,
            )
        return len(changed) == 1

    def epoch(self) -> int:
        with self._server.transaction(SNAPSHOT) as db:
            return int(db.run("SELECT epoch FROM ledger")[0][0])

    def close(self) -> None:
        self._server.close()


def _keys_version(db: Connection) -> tuple[int, int]:
    return version_of(db, "identity"), version_of(db, "keys")


def _last_batch(db: Connection, writer: str) -> int:
    """Return the number of the writer's last batch, -1: none; hold its row until the end.

    A try whose connection was lost may still be at work on the server.
    """
    db.run(
        "INSERT INTO writers VALUES (:writer, -1, 0, 0) ON CONFLICT DO NOTHING",
        writer=writer,
    )
    rows = db.run("SELECT batch FROM writers WHERE writer = :writer FOR UPDATE", writer=writer)
    return int(rows[0][0])


def _opened(db: Connection, writer: str) -> list[Open]:
    """A writer's open requests that used something."""
    rows = db.run(
        "SELECT id, day, tenant, lane, prompt, completion, reserved FROM open"
        " WHERE writer = :writer AND prompt + completion > 0",
        writer=writer,
    )
    return [Open(row[0], Slot(*row[1:4]), Counts(1, row[4], 0, row[5]), row[6]) for row in rows]


def _stored_key(row: list[Any]) -> StoredKey:
    key_id, tenant, salt, digest, expires, admin, proxy, created = row
    key = KeyConfig(
        id=key_id,
        salt=salt,
        hash=digest,
        expires=datetime.fromisoformat(expires) if expires else None,
        admin=admin,
        proxy=proxy,
    )
    return StoredKey(tenant, key, datetime.fromisoformat(created))
