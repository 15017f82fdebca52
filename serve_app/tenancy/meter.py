"""What tenants use, counted once whatever dies, and their quotas.

One request goes through three places. While it is open it is in `_open`: its
reservation counts against the quota. When it ends it becomes a line of the usage log and
part of `pending`, in one step. A thread moves what is pending to the store, together
with the usage log's position and a snapshot of what is open, in one transaction; after
that it reads what all writers of the store have added up.

Whoever finds a dead writer's usage log adds the lines behind the position in the store, and
what the snapshot had open and the usage log does not have as ended. So a request that has
ended counts exactly once, and one that was cut off by the death of this process counts as
of the last flush.
"""

from __future__ import annotations

import itertools
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from router.errors import Rejected
from router.limits.quota import QuotaConfig, TokenWeights, day_of, first_hold, refuse
from router.limits.reservation import Reckoning
from serve_app.tenancy.known_usage import KnownUsage
from serve_app.tenancy.store import Batch, Counts, Finished, Open, Slot, TenancyStore
from serve_app.tenancy.usage_log import MAX_FILE_BYTES, UsageLog, recover_dead

logger = logging.getLogger("ray.serve")

FLUSH_S = 0.5
RECOVER_S = 5.0
SWEEP_S = 3600.0

FAULTS = (sqlite3.Error, OSError)

Progress = Callable[[], tuple[int, int]]
"""Prompt and completion tokens of an open request so far; called on any thread."""


@dataclass(slots=True)
class _OpenRequest:
    tenant: str
    lane: str
    weights: TokenWeights
    reserved: float
    progress: Progress


class UsageMeter:
    """Counts for one ingress replica. `begin`, `end` and `refusal` never wait for a disk.

    Args:
        on_lost: called once for each request that could not be written to the usage log;
            it still counts unless this process is killed before its next flush.
        keep_days: days for which usage by day is kept.

    Attributes:
        usage_log: of what has ended since the store last heard; written under the lock.
        reserved: tokens of the requests that are open here, by tenant.
        pending: what has ended and is not in the store, by slot.

    """

    def __init__(
        self,
        store: TenancyStore,
        folder: Path,
        *,
        keep_days: int = 400,
        on_lost: Callable[[], None] = lambda: None,
        flush_s: float = FLUSH_S,
        max_file_bytes: int = MAX_FILE_BYTES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._folder = folder
        self._keep_days = keep_days
        self._on_lost = on_lost
        self._flush_s = flush_s
        self._clock = clock
        self._lock = threading.Lock()
        self.usage_log = UsageLog(folder, max_file_bytes=max_file_bytes)
        self._ids = itertools.count(1)
        self._batches = itertools.count(1)
        self._open: dict[int, _OpenRequest] = {}
        self.reserved: dict[str, float] = {}
        self.pending: dict[Slot, Counts] = {}
        # Taken for the store and not known to be there.
        self._batch: Batch | None = None
        self._had_open = False
        self._known = KnownUsage()
        self._is_failing = False
        self._closing = threading.Event()
        self.thread = threading.Thread(target=self._run, name="usage", daemon=True)

    # -- on the event loop --------------------------------------------------

    def refusal(
        self, tenant: str, quotas: QuotaConfig, weights: TokenWeights, tokens: float
    ) -> Rejected | None:
        """Return the refusal of a request of so many weighted tokens, if a quota has no room."""
        if quotas.is_none:
            return None
        now = self._clock()
        day, month = self._spent(tenant, weights, now)
        return refuse(quotas, day=day, month=month, tokens=tokens, now=now)

    def first_hold(
        self, tenant: str, quotas: QuotaConfig, weights: TokenWeights, cost: Reckoning
    ) -> float:
        """Weighted tokens that a request holds from the start."""
        if quotas.is_none:
            return cost.whole
        day, month = self._spent(tenant, weights, self._clock())
        return first_hold(quotas, day=day, month=month, cost=cost)

    def spent(self, tenant: str, weights: TokenWeights) -> tuple[float, float]:
        """Weighted tokens used or reserved by now, this day and this month."""
        return self._spent(tenant, weights, self._clock())

    def _spent(self, tenant: str, weights: TokenWeights, now: datetime) -> tuple[float, float]:
        """Weighted tokens used or reserved, this day and this month."""
        with self._lock:
            here = self.reserved.get(tenant, 0.0)
            day, month = self._known.spent(tenant, weights, now)
        return here + day, here + month

    def begin(
        self, tenant: str, lane: str, weights: TokenWeights, reserved: float, progress: Progress
    ) -> int:
        """Hold `reserved` weighted tokens for a request until `end`; returns its number."""
        number = next(self._ids)
        with self._lock:
            self._open[number] = _OpenRequest(tenant, lane, weights, reserved, progress)
            self._hold(tenant, reserved)
        return number

    def end(self, number: int, counts: Counts | None) -> None:
        """Account for a request that has ended; None: it used nothing. Once only."""
        now = self._clock()
        with self._lock:
            request = self._open.get(number)
            if request is None:
                return
            # Into the usage log before it is open no more: a snapshot that is taken
            # without the lock must find it in one of the two.
            self._note(number, Slot(day_of(now), request.tenant, request.lane), counts or _NONE)
            del self._open[number]
            self._hold(request.tenant, -request.reserved)

    def _note(self, number: int, slot: Slot, counts: Counts) -> None:
        try:
            # Also what used nothing: an earlier snapshot may have had it as open.
            self.usage_log.append(Finished(number, slot, counts))
        except OSError:
            self._on_lost()
        if counts != _NONE:
            self.pending[slot] = self.pending.get(slot, _NONE).plus(counts)
            self._known.add(slot, counts)

    def _hold(self, tenant: str, tokens: float) -> None:
        """Reserve so many tokens more, or less where they are negative."""
        held = self.reserved.get(tenant, 0.0) + tokens
        # Nothing is held where every kind of token weighs nothing.
        if held > 1e-6:
            self.reserved[tenant] = held
        else:
            self.reserved.pop(tenant, None)

    # -- on the thread ------------------------------------------------------

    def start(self) -> None:
        """Read the store's totals, then start the thread."""
        self._guard(self._refresh)
        self.thread.start()

    def close(self, within_s: float = 5.0) -> None:
        """Write what is left and end the thread, if that takes no longer than `within_s`."""
        self._closing.set()
        if self.thread.is_alive():
            self.thread.join(within_s)
        # Nothing may be open here; what is, is left for whoever recovers it.
        writer = self.usage_log.writer
        is_done = (
            not self.thread.is_alive()
            and self.try_flush()
            and not (self._open or self.pending or self._batch)
            and self._guard(lambda: self._store.recover(writer, lambda _: ()))
        )
        self.usage_log.close(is_accounted=is_done)
        if is_done:
            self._guard(lambda: self._store.forget(writer))

    def flush(self) -> None:
        """Move what is pending to the store and read the totals. Raises what the store does."""
        if self._batch is None:
            self._take()
        if self._batch is not None:
            # What ends from here on is behind the batch's position; so what is open
            # now, or was a moment ago, is either still open or in the usage log.
            self._store.record(self.usage_log.writer, self._with_open(self._batch))
            self.usage_log.forget(self._batch.position)
        self._refresh()

    def _take(self) -> None:
        """Make a batch of what is pending, unless there is nothing to tell."""
        with self._lock:
            if not (self.pending or self._open or self._had_open):
                # The store has all that is in the usage log, but for what used nothing.
                return
            with suppress(OSError):
                self.usage_log.turn()
            self._batch = Batch(next(self._batches), self.usage_log.position, self.pending)
            self.pending = {}
            self._had_open = bool(self._open)

    def _with_open(self, batch: Batch) -> Batch:
        day = day_of(self._clock())
        rows = []
        for number, request in list(self._open.items()):
            prompt, completion = request.progress()
            held = request.weights.weigh(prompt, 0, completion)
            self._raise_reservation(number, held)
            slot = Slot(day, request.tenant, request.lane)
            rows.append(Open(number, slot, Counts(1, prompt, 0, completion), request.reserved))
        return replace(batch, open=rows)

    def _raise_reservation(self, number: int, held: float) -> None:
        """Reserve what an answer has used where that is more than its estimate."""
        with self._lock:
            request = self._open.get(number)
            if request is not None and held > request.reserved:
                self._hold(request.tenant, held - request.reserved)
                request.reserved = held

    def _refresh(self) -> None:
        totals = self._store.totals(self._known.version, self.usage_log.writer)
        now = self._clock()
        with self._lock:
            # What was taken is in the totals now; what ended since is not.
            self._batch = None
            self._known.adopt(totals, self.pending, now)

    def _run(self) -> None:
        recover_at = sweep_at = time.monotonic()
        while not self._closing.wait(self._flush_s):
            self.try_flush()
            now = time.monotonic()
            if now >= recover_at:
                recover_at = now + RECOVER_S
                self._guard(lambda: recover_dead(self._store, self._folder))
            if now >= sweep_at:
                sweep_at = now + SWEEP_S
                oldest = self._clock() - timedelta(days=self._keep_days)
                self._guard(lambda: self._store.sweep(day_of(oldest)))  # noqa: B023

    def try_flush(self) -> bool:
        """Flush, and return whether the store could be used; the log tells a failure once."""
        return self._guard(self.flush)

    def _guard(self, work: Callable[[], None]) -> bool:
        """Return whether the work was done; what is pending stays where the store failed."""
        try:
            work()
        except FAULTS as error:
            if not self._is_failing:
                logger.warning("usage: the store cannot be used, and is tried again: %s", error)
            self._is_failing = True
            return False
        if self._is_failing:
            logger.info("usage: the store is in use again")
        self._is_failing = False
        return True


_NONE = Counts()
