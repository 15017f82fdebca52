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
    """A lock that tenants get in turn, each for the first of its own that wait.

    Attributes:
        waiting: those in line, by tenant; the next tenant comes first.

    """

    def __init__(self) -> None:
        self.is_taken = False
        self.waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def take(self, tenant: str) -> None:
        """Wait for the lock. `leave` has to follow."""
        if not self.is_taken:
            self.is_taken = True
            return
        mine = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(tenant, deque()).append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if not mine.cancelled():
                # It came at the same moment.
                self.leave()
            raise

    def leave(self) -> None:
        """Hand the lock to the tenant that has waited longest since its last turn."""
        while self.waiting:
            tenant, queue = self.waiting.popitem(last=False)
            following = queue.popleft()
            if queue:
                self.waiting[tenant] = queue
            if not following.done():
                following.set_result(None)
                return
        self.is_taken = False


class BigBodies:
    """Reads the large bodies of one ingress replica, one after another."""

    def __init__(self) -> None:
        self.turn = Turn()

    async def read(self, steps: Steps[T], size: int, tenant: str) -> T:
        """Run the steps that read a tenant's body of `size` bytes, and return their result."""
        if size < BIG_BYTES:
            return at_once(steps)
        await self.turn.take(tenant)
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
            asyncio.get_running_loop().call_later(took, self.turn.leave)


async def breathe(size: int) -> None:
    """Let others have the event loop before more is done with a body of `size` bytes."""
    if size >= BIG_BYTES:
        await asyncio.sleep(0)
