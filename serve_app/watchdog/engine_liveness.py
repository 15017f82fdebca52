"""What a lane replica asks its engine, so that one without requests can sleep.

A worker that vLLM sends a message spins for a second in wait of the next one: asked
every two seconds, each costs half a core for nothing (vLLM 0.29.0: `SpinCondition` in
`shm_broadcast.py`). So an idle worker is looked at, and asked only now and then.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from serve_app.watchdog.watchdog import members

if TYPE_CHECKING:
    from vllm.engine.protocol import EngineClient

LOOK_PERIOD_S = 1.0
WORKERS_PERIOD_S = 60.0
"""Pause between two questions to idle workers."""


class EngineLiveness:
    """Returns when every part of an engine has shown that it lives.

    The core is asked each time. It waits for its workers in every step, so while there is
    work its answer speaks for them as well. The engine's processes are of the replica's
    process group.
    """

    def __init__(
        self,
        group: int,
        *,
        workers_period_s: float = WORKERS_PERIOD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._group = group
        self._workers_period_s = workers_period_s
        self._clock = clock
        self._asked = float("-inf")
        self._processes: list[int] = []

    async def ask(self, engine: EngineClient, *, has_work: bool) -> None:
        """Wait for signs of life; whoever calls says how long.

        `has_work`: there are requests, so that the workers are awake anyway.
        """
        # The engine core alone answers this, between two steps; the other, every worker.
        await engine.is_sleeping()
        if has_work or self._clock() - self._asked >= self._workers_period_s:
            await engine.collective_rpc("check_health")
            self._asked = self._clock()
            self._processes = list(members(self._group))
        while any(map(is_stopped, self._processes)):  # noqa: ASYNC110  # nobody signals it
            await asyncio.sleep(LOOK_PERIOD_S)


def is_stopped(pid: int) -> bool:
    """Return whether a process is halted by a signal or a debugger; a dead one is not."""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
        return state in "Tt"
    return False
