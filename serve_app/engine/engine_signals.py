"""What one lane replica publishes of its engine and its cards, beside the engine's own text."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from router.recovery.stall import EngineProgress, StallWatch
from serve_app.engine.cards.exposition import cards_text
from serve_app.engine.cards.own_cards import OwnCards
from serve_app.engine.cards.reading import CardReading
from serve_app.engine.engine_stats import EngineStats, levels_text, read_stats
from serve_app.metrics.expositions import label_exposition
from serve_app.metrics.shared_call import SharedCall

logger = logging.getLogger("ray.serve")

LOAD_FRESH_S = 0.25
"""Age at which load is read anew for admission: rendering vLLM's text takes its event loop
10 ms, and every ingress replica asks once a second."""

FETCH_TIMEOUT_S = 10.0
"""An engine that does not answer is the watchdog's case; whoever asks later asks anew."""

Fetch = Callable[[], Awaitable[str]]
"""Asks the engine for its Prometheus text."""


class EngineSignals:
    """Reads one engine, once for all who ask at the same time.

    Args:
        in_flight: requests that the replica has accepted.
        stalled_after_s: how long an engine may admit nothing while requests wait.

    """

    def __init__(
        self,
        fetch: Fetch,
        cards: OwnCards,
        in_flight: Callable[[], int],
        *,
        lane: str,
        replica: str,
        stalled_after_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch, self._cards, self._in_flight = fetch, cards, in_flight
        self._lane, self._replica = lane, replica
        self._watch = StallWatch(stalled_after_s)
        self._clock = clock
        self._was_stalled = False
        self._last: tuple[float, EngineStats] | None = None
        self._reading = SharedCall(self._read)

    @property
    def tokens(self) -> float:
        """Tokens that the engine had read and generated when it was last asked."""
        return self._last[1].tokens if self._last else 0.0

    async def metrics(self) -> dict[str, Any]:
        """Return the row of `/status`, and the replica's whole Prometheus text as `text`."""
        text, stats, cards = await self._reading()
        return {**self._load(stats), "cards": [x.row() for x in cards], "text": text}

    async def load(self) -> dict[str, Any]:
        """Return the load alone, up to `LOAD_FRESH_S` old: for those who ask often."""
        last = self._last
        if last is None or self._clock() - last[0] > LOAD_FRESH_S:
            _, stats, _ = await self._reading()
        else:
            stats = last[1]
        return self._load(stats)

    def _load(self, stats: EngineStats) -> dict[str, Any]:
        stalled_s = self._watch.stalled_s(now=self._clock())
        return {
            "replica": self._replica,
            "in_flight": self._in_flight(),
            **stats.row,
            "stalled": stalled_s is not None,
            "stalled_s": round(stalled_s or 0.0, 1),
        }

    async def _read(self) -> tuple[str, EngineStats, list[CardReading]]:
        async with asyncio.timeout(FETCH_TIMEOUT_S):
            text, cards = await asyncio.gather(self._fetch(), self._cards.read())
        stats, now = read_stats(text), self._clock()
        self._last = (now, stats)
        is_stalled = self._note(stats, now)
        own = [levels_text(stats.prompt_tokens), stalled_text(is_stalled), cards_text(cards)]
        labels = {"lane": self._lane, "replica": self._replica}
        return label_exposition("".join([text, *own]), labels), stats, cards

    def _note(self, stats: EngineStats, now: float) -> bool:
        row = stats.row
        # vLLM's gauges stay as they are once it has nothing to do, whatever was cancelled.
        waiting = row["waiting"] if self._in_flight() else 0.0
        progress = EngineProgress(waiting, row["running"], stats.tokens, row["kv_utilization"])
        stalled_s = self._watch.observe(progress, now=now)
        is_stalled = stalled_s is not None
        if is_stalled and not self._was_stalled:
            logger.error(
                "lane '%s': the engine of replica %s answers and admits nothing: %d wait"
                " (%d deferred), %d run, no token for %.0f s",
                *(self._lane, self._replica, row["waiting"], row["waiting_deferred"]),
                *(row["running"], stalled_s),
            )
        elif self._was_stalled and not is_stalled:
            logger.info("lane '%s': the engine of %s works again", self._lane, self._replica)
        self._was_stalled = is_stalled
        return is_stalled


def stalled_text(is_stalled: bool) -> str:  # noqa: FBT001  # the metric's value
    name = "pointsman_engine_stalled"
    return (
        f"# HELP {name} 1 while requests wait in the engine and nothing advances.\n"
        f"# TYPE {name} gauge\n{name} {int(is_stalled)}\n"
    )
