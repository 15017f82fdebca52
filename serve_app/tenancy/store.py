"""What tenancy keeps, and the interface of whatever keeps it.

`sqlite_store` is for one node, `postgres` for several. Both keep the same promises: `record`
and `recover` are all or nothing, and each takes effect once however often it is tried.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from serve_app.config.tenants import KeyConfig


class StoreError(OSError):
    """A server cannot be used, or refused a statement. Its text has no password and no value."""


class Counts(NamedTuple):
    """Requests and their tokens, as the engines count; `cached` are prompt tokens too."""

    requests: int = 0
    prompt: int = 0
    cached: int = 0
    completion: int = 0

    def plus(self, other: Counts) -> Counts:
        return Counts(
            self.requests + other.requests,
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.completion + other.completion,
        )


class Slot(NamedTuple):
    """What usage is counted by: a UTC day (YYYY-MM-DD), a tenant, a lane."""

    day: str
    tenant: str
    lane: str


class Finished(NamedTuple):
    """One request that has ended; `id` is its writer's own number for it."""

    id: int
    slot: Slot
    counts: Counts


class Open(NamedTuple):
    """One request that is open: what it used so far, and what is held for it.

    `reserved` is in weighted tokens.
    """

    id: int
    slot: Slot
    counts: Counts
    reserved: float


class Position(NamedTuple):
    """A place in a writer's usage log: the file's number, and bytes into it."""

    file: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What a writer adds at once.

    Attributes:
        number: counts up by one; a batch that is given twice counts once.
        position: the usage log up to here is in this batch or in earlier ones.
        counts: what ended since the last batch.
        open: every request that is open, in place of those of the last batch.

    """

    number: int
    position: Position
    counts: Mapping[Slot, Counts]
    open: Iterable[Open] = ()


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key that was made by the command, or the revocation of one."""

    tenant: str
    key: KeyConfig
    created: datetime


@dataclass(frozen=True, slots=True)
class Keys:
    """All keys of the store by id, and the ids that are revoked, the file's too."""

    version: tuple[int, int]
    keys: Mapping[str, StoredKey]
    revoked: frozenset[str]


@dataclass(frozen=True, slots=True)
class Totals:
    """What changed since an earlier reading.

    Attributes:
        version: to ask with, the next time.
        used: (period, tenant) to everything it used; a period is a day or a month.
        reserved: tenant to the weighted tokens that other writers hold for open requests;
            whole at every reading.
        is_whole: nothing was left out: what was known before is void.

    """

    version: int
    used: Mapping[tuple[str, str], Counts]
    reserved: Mapping[str, float]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Epoch:
    """The right to be the ledger, until another takes a higher number.

    Attributes:
        number: counts up, one for each ledger.
        boot: of the machine, whose monotonic clock `granted_until` is on.
        granted_until: when all that earlier ledgers granted has run out; None: they
            granted nothing, or there was none.
        holders: to whom; None: that is not known.

    """

    number: int
    boot: str
    granted_until: float | None = None
    holders: frozenset[str] | None = None


class TenancyStore(Protocol):
    """Keys, revocations and usage. Calls block; they raise `sqlite3.Error` or `OSError`.

    Attributes:
        path: of this node's file, or of where it would be; the usage logs are beside it.
        place: which file or server it is, for messages.

    """

    path: Path

    @property
    def place(self) -> str: ...

    def add_key(self, stored: StoredKey) -> None:
        """Keep a new key."""

    def revoke(self, key_id: str, *, at: datetime) -> None:
        """Make a key invalid for good, whether it is kept here or in the tenants file."""

    def keys_version(self) -> tuple[int, int]:
        """Changes with every key and revocation, and with what they are kept in."""

    def keys(self) -> Keys:
        """All of them."""

    def record(self, writer: str, batch: Batch) -> None:
        """Add a batch, exactly once."""

    def recover(self, writer: str, replay: Callable[[Position], Iterable[Finished]]) -> None:
        """Account for all that a dead writer left, exactly once.

        `replay` reads its usage log from a position on. Requests that neither the
        usage log nor a batch has as finished count as they last were.
        """

    def forget(self, writer: str) -> None:
        """Drop the traces of a recovered writer whose usage log is gone."""

    def totals(self, since: int, writer: str) -> Totals:
        """What tenants used, as far as it changed after version `since`."""

    def usage(self, first_day: str, last_day: str) -> dict[Slot, Counts]:
        """Usage between two days, both included."""

    def sweep(self, before_day: str) -> None:
        """Delete the usage of earlier days, and of months that ended before."""

    def next_epoch(self, *, above: int = 0) -> tuple[int, Epoch]:
        """Take a number over all before, and over `above`; the one before it as well.

        From here on `extend_epoch` refuses whoever had a lower one.
        """

    def extend_epoch(self, epoch: Epoch) -> bool:
        """Before grants are made: how long they last. False: there is a higher epoch."""

    def epoch(self) -> int:
        """The highest number that was taken."""

    def close(self) -> None:
        """Let go of it; the next call opens it again."""
