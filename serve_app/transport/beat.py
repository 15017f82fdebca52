"""Periodic tasks that wake their process up together."""

from __future__ import annotations

import asyncio
import os

# Of this process: replicas that beat at once would stand in each other's way.
_PHASE_S = os.getpid() * 0.618 % 1.0


async def beat(period_s: float) -> None:
    """Sleep until the next multiple of `period_s` on the event loop's clock.

    Tasks whose periods are multiples of each other wake up in one turn of the loop. Timers go by
    milliseconds, and one may be early: the next multiple is at least a quarter of a period away.
    """
    past_s = (asyncio.get_running_loop().time() - _PHASE_S) % period_s
    left_s = period_s - past_s
    await asyncio.sleep(left_s if left_s >= period_s / 4 else left_s + period_s)
