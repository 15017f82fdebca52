"""Large request bodies, one at a time, with time for everyone else in between.

Reading JSON holds the interpreter, on a thread too: 4 MiB of text take some 30 ms to read
and route, and many at once would stop every stream of this process for as long as they all
take. So they queue, and after each the event loop has as long for others as it took.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

BIG_BYTES = 256 * 1024
"""Smaller bodies take a millisecond or two."""


class BigBodies:
    """The line of one ingress replica."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def reading(self, size: int) -> AsyncIterator[None]:
        """Wait for a turn to read a body of `size` bytes; nothing is awaited afterwards."""
        if size < BIG_BYTES:
            yield
            return
        await self._turn.acquire()
        begun = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - begun
            asyncio.get_running_loop().call_later(took, self._turn.release)
