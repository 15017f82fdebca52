"""Large request bodies, one at a time, with time for everyone else in between.

Reading JSON holds the interpreter, on a thread too, and many bodies at once would stop
every stream of this process for as long as they all take. So they queue, tenant after
tenant (one who sends hundreds waits for itself), the work on each is cut into pieces,
and after each piece the event loop has as long for others as it took. How long one piece
can be is bounded by the fleet file's `limits` (`serve_app.bodies.body_bounds`).
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from typing import TypeVar

from serve_app.bodies.steps import Steps, at_once

T = TypeVar("T")

BIG_BYTES = 64 * 1024
"""Smaller bodies take a few milliseconds at most."""

PIECE_S = 0.002
"""Shorter pieces are done together."""


class Turn:
    """A lock that tenants get in turn, each for the first of its own that wait."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, tenant: str) -> None:
        """Wait for it; `leave` has to follow."""
        if not self._is_taken:
            self._is_taken = True
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():
                # It came at the same moment.
                self.leave()
            raise

    def leave(self) -> None:
        """Hand it to the tenant that has waited longest since its last turn."""
        while self._waiting:
            tenant, queue = self._waiting.popitem(last=False)
            following = queue.popleft()
            if queue:
                self._waiting[tenant] = queue
            if not following.done():
                following.set_result(None)
                return
        self._is_taken = False


class BigBodies:
    """The line of one ingress replica."""

    def __init__(self) -> None:
        self._turn = Turn()

    async def read(self, steps: Steps[T], size: int, tenant: str) -> T:
        """The result of the steps that read a tenant's body of `size` bytes."""
        if size < BIG_BYTES:
            return at_once(steps)
        await self._turn.take(tenant)
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
            asyncio.get_running_loop().call_later(took, self._turn.leave)


async def breathe(size: int) -> None:
    """Let others have the event loop before more is done with a body of `size` bytes."""
    if size >= BIG_BYTES:
        await asyncio.sleep(0)
