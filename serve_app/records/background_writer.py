"""A bounded queue and the one thread that empties it, for what a request must not wait for."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

logger = logging.getLogger("ray.serve")

T = TypeVar("T")

QUEUE_ITEMS = 2_000
"""One flush interval at 10,000 requests a second; with prompts, some 30 MB at the most."""

FLUSH_S = 0.2
TEND_S = 3600.0


class BackgroundWriter(Generic[T]):
    """Hands what was put to `write`, in batches, on a thread of its own.

    A full queue loses what comes next; a batch that cannot be written is lost
    whole. Both are counted, and a request never waits or fails for either.

    Args:
        name: of the thread, and in the log.
        write: writes one batch; called on the thread only.
        on_lost: called with the number of items lost, on any thread.
        capacity: items that may wait.
        most: items of one batch; None: all that wait.
        tend: housekeeping, called on the thread at its start and every `tend_s`.
        flush_s: seconds for which a batch gathers.

    """

    def __init__(
        self,
        name: str,
        write: Callable[[list[T]], None],
        *,
        on_lost: Callable[[int], None],
        tend: Callable[[], None] = lambda: None,
        capacity: int = QUEUE_ITEMS,
        most: int | None = None,
        flush_s: float = FLUSH_S,
        tend_s: float = TEND_S,
    ) -> None:
        self._name = name
        self._write = write
        self._on_lost = on_lost
        self._tend = tend
        self.capacity = capacity
        self._most = most or capacity
        self._flush_s = flush_s
        self._tend_s = tend_s
        self._queue: deque[T] = deque()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._is_failing = False
        # A daemon: a process that ends without close() is not held up by it.
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self.thread.start()

    def put(self, item: T) -> bool:
        """Leave an item to be written; never blocks. Returns whether there was room for it."""
        if len(self._queue) >= self.capacity:
            self._on_lost(1)
            return False
        self._queue.append(item)
        # Asking first is cheaper than setting, and after the first item of a
        # batch the answer is yes.
        if not self._wake.is_set():
            self._wake.set()
        return True

    def close(self, within_s: float = 5.0) -> None:
        """Write what is left and end the thread, if that takes no longer than `within_s`."""
        self._closing.set()
        self._wake.set()
        if self.thread.is_alive():
            self.thread.join(within_s)

    def _run(self) -> None:
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                self._guard(self._tend, 0)
                due = time.monotonic() + self._tend_s
            self._wake.wait(max(0.0, due - time.monotonic()))
            self._closing.wait(self._flush_s)
            # Cleared before the queue is read: what is put from here on wakes again.
            self._wake.clear()
            is_last = self._closing.is_set()
            self._write_all()
            if is_last:
                return

    def _write_all(self) -> None:
        waiting = [self._queue.popleft() for _ in range(len(self._queue))]
        for begun in range(0, len(waiting), self._most):
            batch = waiting[begun : begun + self._most]
            self._guard(partial(self._write, batch), len(batch))

    def _guard(self, work: Callable[[], None], items: int) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001
            # The thread outlives a full disk. The log hears of it once until it is
            # over, and only in words that cannot quote an item.
            self._on_lost(items)
            if not self._is_failing:
                logger.warning(
                    "%s: cannot write, and what waits is lost: %s", self._name, _told(error)
                )
            self._is_failing = True
        else:
            if self._is_failing:
                logger.info("%s: writes again", self._name)
            self._is_failing = False


def _told(error: Exception) -> str:
    """Name an error; only messages of the system and of SQLite cannot quote an item."""
    name = type(error).__name__
    return f"{name}: {error}" if isinstance(error, (OSError, sqlite3.Error)) else name
