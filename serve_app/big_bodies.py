"""Large request bodies, one at a time, with time for everyone else in between.

Reading JSON holds the interpreter, on a thread too, and many bodies at once would stop
every stream of this process for as long as they all take. So they queue, the work on
each is cut into pieces, and after each piece the event loop has as long for others as
it took. How long one piece can be is bounded by the fleet file's `limits`
(`serve_app.body_bounds`).
"""

from __future__ import annotations

import asyncio
import time
from typing import TypeVar

from serve_app.steps import Steps, at_once

T = TypeVar("T")

BIG_BYTES = 64 * 1024
"""Smaller bodies take a few milliseconds at most."""

PIECE_S = 0.002
"""Shorter pieces are done together."""


class BigBodies:
    """The line of one ingress replica."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def read(self, steps: Steps[T], size: int) -> T:
        """The result of the steps that read a body of `size` bytes."""
        if size < BIG_BYTES:
            return at_once(steps)
        await self._turn.acquire()
        begun = time.perf_counter()
        try:
            while True:
                next(steps)
                took = time.perf_counter() - begun
                if took >= PIECE_S:
                    await asyncio.sleep(took)
                    begun = time.perf_counter()
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            took = time.perf_counter() - begun
            asyncio.get_running_loop().call_later(took, self._turn.release)


async def breathe(size: int) -> None:
    """Let others have the event loop before more is done with a body of `size` bytes."""
    if size >= BIG_BYTES:
        await asyncio.sleep(0)
