"""Where summaries are kept: in this process's memory, and on disk for the other processes.

Memory answers while a request is read; the disk is asked only for what memory does not have,
on one thread of its own. A disk that fails or is slow costs nothing but that others do not find
what is made here: it holds no thread that others need, and while it hangs nobody waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from router.summaries.book import BookBounds, SummaryBook
from router.summaries.keys import Key, verdict_key
from serve_app.config.files import wall_s
from serve_app.config.summaries import SummaryStoreConfig
from serve_app.summaries.keeping.store import DAY_S, FILE_NAME, SummaryStore
from serve_app.summaries.view import WITHOUT

logger = logging.getLogger("ray.serve")

DISK_S = 2.0
"""Nobody waits longer for the disk. Until it has done what somebody waited for in vain, it is
not asked again."""

SWEEP_S = 3600.0

_WITH, _WITHOUT = "+", "-"
"""Verdicts: whether a session has a summary. On disk is only that it does without."""

T = TypeVar("T")


class Shelf:
    """The summaries of one ingress replica; without a store, in memory alone."""

    def __init__(self, config: SummaryStoreConfig, store: SummaryStore | None = None) -> None:
        bounds = BookBounds(config.max_count, config.max_bytes, config.keep_days * DAY_S)
        self.book = SummaryBook(bounds)
        self._store = store
        self._thread = ThreadPoolExecutor(1, "summaries")
        self._late: asyncio.Future[Any] | None = None
        self._is_failing = False

    def known(self, tenant: str, session: str, key: Key) -> str | None:
        """What memory has for a session: a summary, `WITHOUT`, or None: it has to be asked for.

        A summary that others have is not a session's yet: what it did without in its last
        turn, at another ingress replica, it goes on to do without.
        """
        now = time.monotonic()
        verdict = self.book.get(tenant, verdict_key(session, key), now)
        if verdict is None or verdict == _WITHOUT:
            return None if verdict is None else WITHOUT
        return self.book.get(tenant, key, now)

    def text(self, tenant: str, key: Key) -> str | None:
        """A summary of a tenant's in memory, whoever has it."""
        return self.book.get(tenant, key, time.monotonic())

    async def fetch(self, tenant: str, session: str, keys: Sequence[Key]) -> None:
        """Take what the disk has for a session into memory."""
        store = self._store
        if store is not None and keys:
            asked = [*keys, *(verdict_key(session, key) for key in keys)]
            self._take(tenant, await self._try(lambda: store.find(tenant, asked, wall_s()), {}))

    def accept(self, tenant: str, session: str, key: Key) -> str | None:
        """Give a session the summary that memory has; None: there is none.

        Returns `WITHOUT` where the session does without it.
        """
        known, now = self.known(tenant, session, key), time.monotonic()
        if known is not None:
            return known
        text = self.text(tenant, key)
        if text is not None:
            self.book.put(tenant, verdict_key(session, key), _WITH, now)
        return text

    async def keep(self, tenant: str, texts: Mapping[Key, str]) -> None:
        """Keep texts; where another process was first, take its."""
        store = self._store
        kept = texts
        if store is not None and texts:
            kept = {**texts, **await self._try(lambda: store.keep(tenant, texts, wall_s()), {})}
        self._take(tenant, kept)

    async def go_without(self, tenant: str, session: str, keys: Sequence[Key]) -> None:
        """Have a session do without these summaries from now on, but those that it has."""
        lacking = [key for key in keys if not self.known(tenant, session, key)]
        await self.keep(tenant, {verdict_key(session, key): _WITHOUT for key in lacking})

    def _take(self, tenant: str, texts: Mapping[Key, str]) -> None:
        now = time.monotonic()
        for key, text in texts.items():
            self.book.put(tenant, key, text, now)

    async def _try(self, work: Callable[[], T], otherwise: T) -> T:
        if self._late is not None and not self._late.done():
            return otherwise
        try:
            job = asyncio.get_running_loop().run_in_executor(self._thread, work)
        except RuntimeError:
            # The thread has ended, as this replica is about to.
            return otherwise
        job.add_done_callback(_heard)
        # Who stops waiting stops nothing: what was to be kept is kept.
        done, _ = await asyncio.wait({job}, timeout=DISK_S)
        if job.cancelled():
            return otherwise
        if not done:
            self._late = job
        error = job.exception() if done else TimeoutError("it is slow")
        if error is None:
            self._is_failing = False
            return job.result()
        if not self._is_failing:
            logger.warning("summaries: the disk cannot be used: %s", _told(error))
        self._is_failing = True
        return otherwise

    async def run(self) -> None:
        """Delete what expires on disk, for ever, whether anybody makes summaries or not."""
        store = self._store
        while store is not None:
            await self._try(lambda: store.sweep(wall_s()), None)
            await asyncio.sleep(SWEEP_S)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._store is not None:
            self._store.close()


def _heard(job: asyncio.Future[Any]) -> None:
    """Take the error of a job that nobody waits for any more."""
    if not job.cancelled():
        job.exception()


def _told(error: BaseException) -> str:
    """Name an error; only messages of the system and of SQLite cannot quote a summary."""
    return str(error) if isinstance(error, (OSError, sqlite3.Error)) else type(error).__name__


def build_shelf(config: SummaryStoreConfig, state_dir: Path) -> Shelf:
    """The shelf of one ingress replica; its file may not be there yet."""
    if not config.on_disk:
        return Shelf(config)
    return Shelf(config, SummaryStore(state_dir / FILE_NAME, config))
