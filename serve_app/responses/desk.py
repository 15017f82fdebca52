"""The event loop's side of stored responses: threads for the file, limits of time and memory.

A response is written before its client has the end of the answer, so that whoever asks next
finds it, on any ingress replica. An answer never fails for that: it waits `WITHIN_S` at most.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from router.errors import Rejected, RejectReason
from serve_app.config.files import wall_s
from serve_app.config.records import ResponsesConfig
from serve_app.responses.metrics import ResponseMetrics
from serve_app.responses.rows import Content, Exchange, NewResponse, Outcome, Put, Total
from serve_app.responses.store import ResponseStore, TooLong

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

WITHIN_S = 2.0
"""How long an answer waits for its response to be written, and a request for one to be read."""

MAX_WAITING_BYTES = 64 * 2**20
"""Of responses that wait for the file: more are not stored."""

TEND_S = 60.0

UNAVAILABLE = Rejected(
    RejectReason.RESPONSE_STORE_UNAVAILABLE,
    "The stored responses cannot be read now. Try again, or send the whole conversation in "
    "'input' without 'previous_response_id'.",
    param="previous_response_id",
)

_FAULTS = (sqlite3.Error, OSError)

Bounds = Callable[[str], ResponsesConfig | None]
"""A tenant's, by its name; None: it stores nothing, or is none."""


class StoredResponses:
    """What one ingress replica does with the file that all of them share.

    Nothing is opened, and no thread begun, before the first use.

    Attributes:
        totals: of each tenant, as of the last look.

    """

    def __init__(
        self,
        path: Path,
        metrics: ResponseMetrics,
        *,
        within_s: float = WITHIN_S,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._metrics = metrics
        self._within_s, self._max_waiting_bytes = within_s, max_waiting_bytes
        # Two connections: a reader must not wait for the writers' turn.
        self._reads, self._writes = ResponseStore(path), ResponseStore(path)
        self._reader = ThreadPoolExecutor(1, "responses-read")
        self._writer = ThreadPoolExecutor(1, "responses-write")
        self._waiting_bytes = 0
        self._is_failing = False
        self.totals: dict[str, Total] = {}

    # -- what requests do ---------------------------------------------------

    async def keep(self, new: NewResponse, bounds: ResponsesConfig) -> Outcome:
        """Write a response; never raises but when cancelled, and then it is written all the same.

        May be awaited outside of a task.
        """
        size = new.content.size
        if self._waiting_bytes + size > self._max_waiting_bytes:
            self.note(Outcome.FAILED)
            return Outcome.FAILED
        self._waiting_bytes += size
        put = partial(self._writes.put, new, bounds, now=wall_s())
        try:
            job = asyncio.get_running_loop().run_in_executor(self._writer, put)
        except RuntimeError:
            # The thread has ended, as this replica is about to.
            self._waiting_bytes -= size
            return Outcome.FAILED
        job.add_done_callback(partial(self._written, size))
        done, _ = await asyncio.wait({job}, timeout=self._within_s)
        return _outcome(job) if done else Outcome.LATE

    def _written(self, size: int, job: asyncio.Future[Put]) -> None:
        self._waiting_bytes -= size
        self.note(_outcome(job))
        error = None if job.cancelled() else job.exception()
        if error is not None and not self._is_failing:
            # Once until it is over. The message is the system's or SQLite's: no prompt.
            told = f": {error}" if isinstance(error, _FAULTS) else ""
            logger.warning("responses cannot be stored: %s%s", type(error).__name__, told)
        self._is_failing = error is not None
        if error is None and not job.cancelled():
            self._note_deleted("evicted", job.result().evicted)

    def note(self, outcome: Outcome) -> None:
        """Count what became of a response that was to be stored."""
        self._metrics.stored.labels(outcome.value).inc()

    def _note_deleted(self, cause: str, count: int) -> None:
        if count:
            self._metrics.deleted.labels(cause).inc(count)

    async def conversation(
        self, tenant: str, response_id: str, most_bytes: int
    ) -> list[Exchange] | Rejected | None:
        """Return the items up to a response and with it; None: not all of them are there."""
        read = partial(
            self._reads.conversation, tenant, response_id, now=wall_s(), most_bytes=most_bytes
        )
        try:
            return await self._read(read)
        except TooLong:
            return Rejected(
                RejectReason.REQUEST_TOO_LARGE,
                f"The stored conversation is too long: {most_bytes} bytes are left for it "
                "(limits.max_body_bytes). Begin a new one with what matters of it.",
                param="previous_response_id",
            )

    async def get(self, tenant: str, response_id: str) -> Content | Rejected | None:
        """Return a response; None: the tenant has none of that id."""
        return await self._read(partial(self._reads.get, tenant, response_id, now=wall_s()))

    async def delete(self, tenant: str, response_id: str) -> bool | Rejected:
        """Delete a response; return whether there was one."""
        gone = await self._read(
            partial(self._writes.delete, tenant, response_id, now=wall_s()), self._writer
        )
        self._note_deleted("asked", gone is True)
        return gone

    async def _read(
        self, work: Callable[[], T], on: ThreadPoolExecutor | None = None
    ) -> T | Rejected:
        job = asyncio.get_running_loop().run_in_executor(on or self._reader, work)
        done, _ = await asyncio.wait({job}, timeout=self._within_s)
        if not done:
            job.add_done_callback(_heard)
            job.cancel()
            return UNAVAILABLE
        try:
            return job.result()
        except _FAULTS as error:
            logger.warning("responses cannot be read: %s: %s", type(error).__name__, error)
            return UNAVAILABLE

    # -- housekeeping -------------------------------------------------------

    async def watch(self, bounds: Bounds, every_s: float = TEND_S) -> None:
        """Delete what has to go, and look at what there is, again and again."""
        while True:
            await self.tend(bounds)
            await asyncio.sleep(every_s)

    async def tend(self, bounds: Bounds) -> None:
        """Do so once. Others' writes go in between its pieces."""
        if not self._writes.path.exists():
            self._note_totals({})
            return
        try:
            totals = await self._write(self._writes.totals)
            limits = {name: x for name in totals if (x := bounds(name)) is not None}
            sweep = partial(self._writes.sweep, limits, now=wall_s())
            while any(gone := await self._write(sweep)):
                self._note_deleted("expired", gone.expired)
                self._note_deleted("evicted", gone.evicted)
            self._note_totals(await self._write(self._writes.totals))
        except _FAULTS as error:
            logger.warning("stored responses cannot be tended: %s: %s", type(error).__name__, error)

    def _note_totals(self, totals: dict[str, Total]) -> None:
        self.totals = totals
        self._metrics.responses.set(sum(x.responses for x in totals.values()))
        self._metrics.bytes.set(sum(x.bytes for x in totals.values()))

    async def _write(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    def status(self) -> dict[str, Any]:
        """Return what all tenants have stored, as of the last look."""
        return {
            "responses": sum(x.responses for x in self.totals.values()),
            "bytes": sum(x.bytes for x in self.totals.values()),
            "tenants": len(self.totals),
        }

    def close(self) -> None:
        """Write what waits, and let go of the file. Blocks."""
        for thread, store in ((self._writer, self._writes), (self._reader, self._reads)):
            thread.shutdown()
            store.close()


def _outcome(job: asyncio.Future[Put]) -> Outcome:
    if job.cancelled() or job.exception() is not None:
        return Outcome.FAILED
    return job.result().outcome or Outcome.FAILED


def _heard(job: asyncio.Future[Any]) -> None:
    """Take a fault that nobody waits for any more."""
    if not job.cancelled():
        job.exception()
