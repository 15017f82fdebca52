"""The ledger's deployment: one replica on the head node, beside the store.

It is no deployment actor, because Serve names those by the code version of their deployment:
during a rollout old and new ingress replicas would talk to two of them. A deployment of its
own keeps one address for all, and stays when only the ingress changes.

It takes an epoch from the store when it starts. The epoch is a fencing token: the ledger looks
into the store before each answer, and answers nobody as soon as another has a higher one.
Before it grants anything it notes in the store to which holder, and until when its grants may
last. The next ledger grants no more than is held until it has heard of all of these holders,
or that time has come.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from router.leases.ledger import Ledger
from router.leases.messages import LeaseTerms, Report
from serve_app.config.settings import load_tenants, tenancy_path
from serve_app.tenancy.store import Epoch, TenancyStore
from serve_app.tenancy.stores import open_store

logger = logging.getLogger("ray.serve")

AHEAD_S = 2.0
"""Grants are noted for so long ahead, so that not each of them needs a note."""

TAKEOVER_S = 5.0
"""A ledger that is still asked so long after another took a higher epoch takes one again, as
the other is gone. In a rollout two ledgers run for less than that."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return which run of which machine this is; in it the monotonic clock is one clock."""
    return BOOT_ID.read_text().strip()


class LedgerService:
    """The ledger with its epoch.

    It raises `sqlite3.Error` or `OSError` where the store cannot be used. Then nobody is
    answered, and leases run down.

    Attributes:
        noted_until: time by which its grants have run out, as noted in the store.

    """

    def __init__(
        self,
        store: TenancyStore,
        terms: LeaseTerms,
        boot: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._terms = terms
        self._boot = boot
        self._clock = clock
        self._turn = asyncio.Lock()
        self._lost_at: float | None = None
        self._take()

    def _take(self, above: int = 0) -> None:
        number, before = self._store.next_epoch(above=above)
        now = self._clock()
        learning_until = before.granted_until
        if learning_until is not None and before.boot != self._boot:
            # It was on another clock, so that a whole lease may be to come.
            learning_until = now + self._terms.lease_s
        is_first = learning_until is None and not above
        if learning_until is None:
            learning_until = now + self._terms.lease_s if above else now
        self.noted_until = learning_until
        self._noted: frozenset[str] = frozenset()
        self._lost_at = None
        # A store that was replaced does not know who holds what.
        awaited = None if above else before.holders
        self.ledger = Ledger(
            number, self._terms, learning_until=learning_until, awaited=awaited, is_first=is_first
        )
        logger.info("ledger: epoch %d, learning for %.1f s", number, max(0.0, learning_until - now))

    async def exchange(self, wire: dict[str, Any]) -> dict[str, Any] | None:
        """Answer a report; None: it is too late, or another is the ledger now."""
        report = Report.from_wire(wire)
        async with self._turn:
            if not await asyncio.to_thread(self._holds, report.holder, report.epoch):
                return None
            answer = self.ledger.exchange(report, now=self._clock())
        return None if answer is None else answer.to_wire()

    def _holds(self, holder: str, heard: int) -> bool:
        """Return whether this is the ledger; the holder knows of epochs up to `heard`."""
        now = self._clock()
        if self._is_highest(holder, now):
            if heard > self.ledger.epoch:
                # The store was replaced by an older or an empty one.
                self._take(above=heard)
                return self._is_highest(holder, now)
            return True
        if self._lost_at is None:
            self._lost_at = now
            logger.warning("ledger: epoch %d is over", self.ledger.epoch)
        if now - self._lost_at < TAKEOVER_S:
            return False
        self._take()
        return self._is_highest(holder, now)

    def _is_highest(self, holder: str, now: float) -> bool:
        lasts = now + self._terms.lease_s
        if holder in self._noted and lasts <= self.noted_until:
            return self._store.epoch() == self.ledger.epoch
        until = max(lasts + AHEAD_S, self.noted_until)
        holders = self.ledger.known(now=now) | {holder}
        note = Epoch(self.ledger.epoch, self._boot, until, holders)
        if not self._store.extend_epoch(note):
            return False
        self.noted_until, self._noted = until, holders
        return True


class LedgerServer:
    """The Serve deployment."""

    def __init__(self, terms: dict[str, Any], *, tenants_file: str) -> None:
        tenants = load_tenants(Path(tenants_file))
        store = open_store(tenants.store, tenancy_path(tenants))
        self._service = LedgerService(store, LeaseTerms(**terms), boot_id())
        self._store = store

    async def exchange(self, wire: dict[str, Any]) -> dict[str, Any] | None:
        try:
            return await self._service.exchange(wire)
        except (sqlite3.Error, OSError) as error:
            logger.warning("ledger: the store cannot be used: %s", error)
            return None
