"""The cards of one lane replica, read now and then."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from serve_app.engine.cards.nvml import NvmlCards
from serve_app.engine.cards.reading import CardReading, Cards

if TYPE_CHECKING:
    from vllm.engine.protocol import EngineClient

logger = logging.getLogger("ray.serve")

WORKER_EXTENSION = "serve_app.engine.cards.worker.CardReporter"
"""As vLLM's `worker_extension_cls`."""

READ_PERIOD_S = 1.0
WAIT_S = 0.5
ASK_TIMEOUT_S = 10.0
"""For the workers' answer: the engine core asks them between two steps."""

Find = Callable[[], Awaitable[frozenset[str]]]
"""Finds out which cards, by UUID; empty: none that is known."""


class OwnCards:
    """Reads a replica's own cards, at most once a second, on a thread.

    Which they are is found out before the first reading. Whoever asks waits for `WAIT_S` at
    most, and then gets the reading before: a driver that is stuck holds up no scrape.
    """

    def __init__(
        self, find: Find, cards: Cards | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._find, self._cards, self._clock = find, cards or NvmlCards(), clock
        self._wanted: frozenset[str] | None = None
        self._read_at = float("-inf")
        self._last: list[CardReading] = []
        self._reading: asyncio.Task[None] | None = None
        self._has_failed = False

    async def read(self) -> list[CardReading]:
        """Return the last reading, or a new one where that is a second old."""
        is_due = self._clock() - self._read_at >= READ_PERIOD_S
        if is_due and (self._reading is None or self._reading.done()):
            self._read_at = self._clock()
            self._reading = asyncio.create_task(self._refresh(), name="card-reading")
        if self._reading is not None and not self._reading.done():
            await asyncio.wait({self._reading}, timeout=WAIT_S)
        return self._last

    async def _refresh(self) -> None:
        try:
            if not self._wanted:
                # A lane of a pool knows its cards once its engine was there.
                self._wanted = await self._find()
            if self._wanted:
                self._last = await asyncio.to_thread(self._cards.read, self._wanted)
        except Exception:
            # Figures of cards are no reason to lose those of the engine.
            self._last = []
            if not self._has_failed:
                logger.exception("cards cannot be read; it is tried on, and not told again")
            self._has_failed = True


async def no_cards() -> frozenset[str]:
    """Return that there are none: a lane on CPUs, a simulated engine."""
    return frozenset()


async def cards_of_engine(client: EngineClient) -> frozenset[str]:
    """Return the cards that an engine's workers run on.

    Ray hides all cards from the replica's own process: the workers have them. Where they
    do not say, it is what the replica's own `CUDA_VISIBLE_DEVICES` names by UUID.
    """
    found: Iterable[str | None] = ()
    with contextlib.suppress(Exception):
        # Whatever an engine answers to this, it serves on without figures of its cards.
        async with asyncio.timeout(ASK_TIMEOUT_S):
            found = await client.collective_rpc("reported_card")
    return frozenset(filter(None, found)) or visible_cards(os.environ)


def visible_cards(environment: Mapping[str, str]) -> frozenset[str]:
    """Return the UUIDs in `CUDA_VISIBLE_DEVICES`; numbers mean other cards in each process."""
    named = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return frozenset(x.strip() for x in named if x.strip().startswith("GPU-"))
