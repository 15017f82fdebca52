"""Those who watch the figures: one builder for all of them, which rests while nobody does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from serve_app.console.feed import Snapshot

logger = logging.getLogger("ray.serve")

EVERY_S = 1.0
MOST = 16
"""Watchers of one ingress replica. Each costs one write a second; the figures are built once."""


class Watcher:
    """One open page. It gets the newest snapshot, however many it has missed."""

    def __init__(self, watchers: Watchers) -> None:
        self._watchers = watchers
        self._news = asyncio.Event()
        self._has_left = False

    async def next(self) -> Snapshot | None:
        """Wait for figures that it has not had; None: there will be no more."""
        await self._news.wait()
        self._news.clear()
        return None if self._has_left else self._watchers.latest

    def notify(self) -> None:
        self._news.set()

    def leave(self) -> None:
        """Wake it up for the last time. Idempotent."""
        self._has_left = True
        self._watchers.forget(self)
        self._news.set()


class Watchers:
    """Builds a snapshot a second while somebody watches.

    Args:
        build: the figures of now.

    Attributes:
        latest: the newest figures; None before the first.
        built: how many snapshots there were.

    """

    def __init__(
        self,
        build: Callable[[], Awaitable[Snapshot]],
        *,
        every_s: float = EVERY_S,
        most: int = MOST,
    ) -> None:
        self._build = build
        self._every_s = every_s
        self._most = most
        self._open: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self.latest: Snapshot | None = None
        self.built = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_at_work(self) -> bool:
        """Whether figures are gathered at all."""
        return self._task is not None and not self._task.done()

    async def rest(self) -> None:
        """Wait until nothing is gathered any more, which follows the last watcher's leaving."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def join(self) -> Watcher | None:
        """Begin to watch; None: too many do."""
        if len(self._open) >= self._most:
            return None
        watcher = Watcher(self)
        self._open.add(watcher)
        if not self.is_at_work:
            # What an earlier watcher saw may be old.
            self.latest = None
            self._task = asyncio.get_running_loop().create_task(self._run())
        elif self.latest is not None:
            watcher.notify()
        return watcher

    def forget(self, watcher: Watcher) -> None:
        self._open.discard(watcher)

    def end(self) -> None:
        """Send all watchers away: this replica is on its way out."""
        for watcher in list(self._open):
            watcher.leave()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self._open:
            try:
                self.latest = await self._build()
            except Exception:
                # The next second may be better, and the page says that its figures are old.
                logger.exception("console: the figures could not be gathered")
            else:
                self.built += 1
                for watcher in self._open:
                    watcher.notify()
            due = max(due + self._every_s, loop.time())
            await asyncio.sleep(due - loop.time())
