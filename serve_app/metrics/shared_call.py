"""One answer for all who ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedCall(Generic[T]):
    """Runs a call; whoever asks while it runs waits for that run's answer, or its error.

    The run goes on when one of those who wait is cancelled.
    """

    def __init__(self, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self._running: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        running = self._running
        if running is None or running.done():
            running = self._running = asyncio.ensure_future(self._run())
            running.add_done_callback(_retrieved)
        return await asyncio.shield(running)

    async def _run(self) -> T:
        return await self._call()


def _retrieved(task: asyncio.Task[T]) -> None:
    """Mark the error as seen: all who waited for it may have gone."""
    if not task.cancelled():
        task.exception()
