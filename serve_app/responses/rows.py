"""What is done to the rows of stored responses within one transaction (`tables` has them)."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from serve_app.config.records import ResponsesConfig

DAY_S = 86_400.0

PIECE_ROWS = 64
PIECE_BYTES = 8 * 2**20
"""Deleted in one transaction at most: what is deleted is overwritten."""

MAX_CHAIN = 10_000
"""Responses of one conversation. Each adds an item at least, and no more of those are read."""


class Outcome(StrEnum):
    """What became of a response that was to be stored."""

    STORED = "stored"
    NO_ROOM = "no_room"
    """Its conversation alone is over its tenant's bounds."""
    PREVIOUS_GONE = "previous_gone"
    """What it continues was deleted while it was made."""
    ID_TAKEN = "id_taken"
    LATE = "late"
    """Not written when the client had to have the answer; it may be later."""
    FAILED = "failed"


class Content(NamedTuple):
    """A response's parts, each JSON: an object without `output`, and two arrays."""

    head: bytes
    input: bytes
    output: bytes

    @property
    def size(self) -> int:
        return len(self.head) + len(self.input) + len(self.output)


class Exchange(NamedTuple):
    """The items of one request and of its answer, each a JSON array."""

    input: bytes
    output: bytes


@dataclass(frozen=True, slots=True)
class NewResponse:
    """A response that is to be stored; `previous`: the id of the one it continues."""

    tenant: str
    id: str
    previous: str | None
    content: Content


class Put(NamedTuple):
    """What storing did; `outcome` None: more has to be deleted first."""

    outcome: Outcome | None
    evicted: int = 0


class Swept(NamedTuple):
    """How many responses were deleted, and why."""

    expired: int
    evicted: int


class Total(NamedTuple):
    """What one tenant has stored."""

    responses: int
    bytes: int


class Link(NamedTuple):
    """A row without its content; `items`: bytes of its input and output alone."""

    seq: int
    previous: int | None
    bytes: int
    items: int


GET = """
SELECT head, input, output FROM responses JOIN contents USING (seq)
    WHERE tenant = ? AND id = ? AND expires > ?
"""

ITEMS = "SELECT input, output FROM contents WHERE seq = ?"

FIND = """
SELECT seq, previous, bytes, items FROM responses WHERE tenant = ? AND id = ? AND expires > ?
"""

_LINK = "SELECT seq, previous, bytes, items FROM responses WHERE seq = ? AND tenant = ?"

OLDEST = """
SELECT seq, previous, bytes, items FROM responses WHERE tenant = ? ORDER BY used, seq DESC LIMIT ?
"""

_UNUSED = """
SELECT seq, previous, bytes, items FROM responses WHERE tenant = ? AND used <= ?
    ORDER BY used, seq DESC LIMIT ?
"""

_EXPIRED = """
SELECT tenant, seq, previous, bytes, items FROM responses WHERE expires <= ?
    ORDER BY expires, seq DESC LIMIT ?
"""

_TOUCH = "UPDATE responses SET used = ?, expires = max(expires, ?) WHERE seq = ?"

_INSERT = """
INSERT INTO responses (tenant, id, previous, bytes, items, used, expires)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""

_ADD = """
INSERT INTO totals VALUES (?, ?, ?) ON CONFLICT (tenant) DO UPDATE SET
    responses = responses + excluded.responses, bytes = bytes + excluded.bytes
"""


class Transaction:
    """Others wait meanwhile; what raises leaves nothing behind."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._db.rollback()
            return
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._db.rollback()
            raise


def put_or_evict(
    db: sqlite3.Connection, new: NewResponse, bounds: ResponsesConfig, now: float
) -> Put:
    """Store a response if there is room, or make some."""
    size = new.content.size
    with Transaction(db):
        if db.execute(FIND, (new.tenant, new.id, -math.inf)).fetchone() is not None:
            return Put(Outcome.ID_TAKEN)
        chain: list[Link] | None = []
        if new.previous is not None:
            chain = chain_of(db, new.tenant, new.previous, now)
        if chain is None:
            return Put(Outcome.PREVIOUS_GONE)
        together = size + sum(link.bytes for link in chain)
        if together > bounds.max_bytes or len(chain) >= min(bounds.max_responses, MAX_CHAIN):
            return Put(Outcome.NO_ROOM)
        used, expires = _stamp(db, new.tenant, now), now + bounds.keep_days * DAY_S
        # Before others are pushed out: what is continued goes last.
        db.executemany(_TOUCH, [(used, expires, link.seq) for link in chain])
        total = _total(db, new.tenant)
        over = Total(
            total.responses + 1 - bounds.max_responses, total.bytes + size - bounds.max_bytes
        )
        gone = _evict(db, new.tenant, over)
        if gone.responses < over.responses or gone.bytes < over.bytes:
            return Put(None, gone.responses)
        previous = chain[0].seq if chain else None
        items = size - len(new.content.head)
        row = (new.tenant, new.id, previous, size, items, used, expires)
        seq = db.execute(_INSERT, row).lastrowid
        db.execute("INSERT INTO contents VALUES (?, ?, ?, ?)", (seq, *new.content))
        db.execute(_ADD, (new.tenant, 1, size))
    return Put(Outcome.STORED, gone.responses)


def chain_of(
    db: sqlite3.Connection, tenant: str, response_id: str, now: float
) -> list[Link] | None:
    """Return a response and all that it continues, newest first; None: not all is there."""
    found = db.execute(FIND, (tenant, response_id, now)).fetchone()
    chain: list[Link] = []
    while found is not None:
        link = Link(*found)
        chain.append(link)
        if link.previous is None:
            return chain
        found = db.execute(_LINK, (link.previous, tenant)).fetchone()
    return None


def _stamp(db: sqlite3.Connection, tenant: str, now: float) -> float:
    """Return a time of use after all others of the tenant, whatever clocks say."""
    newest = db.execute("SELECT max(used) FROM responses WHERE tenant = ?", (tenant,)).fetchone()[0]
    return now if newest is None or newest < now else math.nextafter(newest, math.inf)


def _total(db: sqlite3.Connection, tenant: str) -> Total:
    found = db.execute("SELECT responses, bytes FROM totals WHERE tenant = ?", (tenant,)).fetchone()
    return Total(*found) if found else Total(0, 0)


def _evict(db: sqlite3.Connection, tenant: str, over: Total) -> Total:
    """Delete the least recently used until so much is gone, or a piece; return what is."""
    if over.responses <= 0 and over.bytes <= 0:
        return Total(0, 0)
    wanted: list[Link] = []
    gone = Total(0, 0)
    for link in piece_of(db.execute(OLDEST, (tenant, PIECE_ROWS))):
        if gone.responses >= over.responses and gone.bytes >= over.bytes:
            break
        wanted.append(link)
        gone = Total(gone.responses + 1, gone.bytes + link.bytes)
    delete_rows(db, tenant, wanted)
    return gone


def piece_of(rows: Iterable[tuple[int, int | None, int, int]]) -> list[Link]:
    """Return the first of these rows, and more of them as long as they are not too much."""
    piece: list[Link] = []
    size = 0
    for row in rows:
        link = Link(*row)
        if piece and size + link.bytes > PIECE_BYTES:
            break
        piece.append(link)
        size += link.bytes
    return piece


def delete_rows(db: sqlite3.Connection, tenant: str, links: list[Link]) -> None:
    """Delete these rows of a tenant, within a transaction."""
    if not links:
        return
    seqs = [(link.seq,) for link in links]
    db.executemany("DELETE FROM responses WHERE seq = ?", seqs)
    db.executemany("DELETE FROM contents WHERE seq = ?", seqs)
    db.execute(_ADD, (tenant, -len(links), -sum(link.bytes for link in links)))
    db.execute("DELETE FROM totals WHERE tenant = ? AND responses <= 0", (tenant,))


def expire(db: sqlite3.Connection, now: float) -> int:
    """Delete a piece of what has expired; return how many responses that was."""
    if not db.execute(_EXPIRED, (now, 1)).fetchall():
        return 0
    with Transaction(db):
        found = db.execute(_EXPIRED, (now, PIECE_ROWS)).fetchall()
        kept = {link.seq for link in piece_of(row[1:] for row in found)}
        links: dict[str, list[Link]] = {}
        for tenant, *row in found:
            if row[0] in kept:
                links.setdefault(tenant, []).append(Link(*row))
        for tenant, rows in links.items():
            delete_rows(db, tenant, rows)
    return len(kept)


def is_over(db: sqlite3.Connection, tenant: str, bounds: ResponsesConfig, now: float) -> bool:
    """Return whether a tenant has more, or older responses, than it may."""
    total = _total(db, tenant)
    if total.responses > bounds.max_responses or total.bytes > bounds.max_bytes:
        return True
    return bool(db.execute(_UNUSED, (tenant, now - bounds.keep_days * DAY_S, 1)).fetchall())


def trim(db: sqlite3.Connection, tenant: str, bounds: ResponsesConfig, now: float) -> Swept:
    """Bring a tenant nearer to bounds that were lowered, by one piece."""
    with Transaction(db):
        oldest = now - bounds.keep_days * DAY_S
        unused = piece_of(db.execute(_UNUSED, (tenant, oldest, PIECE_ROWS)))
        delete_rows(db, tenant, unused)
        total = _total(db, tenant)
        over = Total(total.responses - bounds.max_responses, total.bytes - bounds.max_bytes)
        return Swept(len(unused), 0 if unused else _evict(db, tenant, over).responses)
