"""An HTTP server inside one of Ray's processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import uvicorn

DATE_EVERY_S = 1.0
"""How often answers get another date, where they have one."""


class ReplicaServer(uvicorn.Server):
    """Uvicorn's server, which leaves SIGTERM to Ray and sleeps until it is told to end.

    Uvicorn's own looks ten times a second whether it should end.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        self._end = asyncio.Event()
        super().__init__(config)

    @property
    def should_exit(self) -> bool:
        """Whether it is to end; set on the event loop."""
        return self._end.is_set()

    @should_exit.setter
    def should_exit(self, is_over: bool) -> None:
        if is_over:
            self._end.set()
        else:
            self._end.clear()

    async def main_loop(self) -> None:
        """Wait for the end, and keep the date."""
        within_s = DATE_EVERY_S if self.config.date_header else None
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await self._end.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Catch none."""
        yield
