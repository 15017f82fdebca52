"""What the ingress asks the contextual classifier, and how long it waits for it.

A request that gets no answer in time keeps the score that it has. A service that is late or
away some times in a row is left alone for a while, so that not every request near a threshold
waits for nothing: the same breaker that lanes' replicas have, of one replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter

from classifier import Conversation
from router.recovery.breaker import BreakerConfig, Breakers

if TYPE_CHECKING:
    # The page of all metrics reads this file, in processes that need no Ray.
    from ray.serve.handle import DeploymentHandle

logger = logging.getLogger("ray.serve")

_SERVICE = "classifier_service"
# All of its one replica may be left alone, unlike a lane's: there is something to fall back on.
_BREAKER = BreakerConfig(eject_after=5, eject_s=1.0, eject_max_s=30.0, eject_share=1.0)

OUTCOMES = ("answered", "late", "failed", "open")

Ask = Callable[[list[tuple[str, str, int, int]]], Awaitable[list[float]]]
"""Gives the fields of conversations, and returns the share of the mix that scores as high."""


class ScoreAsking:
    """Asks for the shares of one ingress replica's doubtful turns."""

    def __init__(
        self,
        ask: Ask,
        deadline_s: float,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask, self._deadline_s, self._clock = ask, deadline_s, clock
        self._breakers = Breakers(_BREAKER)
        self._asked = Counter(
            "pointsman_classifier_service_total",
            "Requests near a threshold, by what the contextual classifier said in time: answered, "
            "late, failed, or open (not asked, since it failed before).",
            ["outcome"],
            registry=registry,
        )
        for outcome in OUTCOMES:
            self._asked.labels(outcome)

    async def shares(self, conversations: Sequence[Conversation]) -> list[float] | None:
        """One share each, in (0, 1]; None: it did not answer in time, or is left alone."""
        now = self._clock()
        if _SERVICE in self._breakers.avoided(now=now):
            self._asked.labels("open").inc()
            return None
        self._breakers.note_chosen(_SERVICE, now=now)
        outcome, shares = await self._answer(conversations)
        self._asked.labels(outcome).inc()
        if shares is not None:
            self._breakers.note_success(_SERVICE, now=self._clock())
        elif self._breakers.note_fault(_SERVICE, now=self._clock()):
            logger.warning("the classifier service is left alone for a while: %s", outcome)
        return shares

    async def _answer(
        self, conversations: Sequence[Conversation]
    ) -> tuple[str, list[float] | None]:
        fields = [(c.last_user, c.system, c.user_turns, c.tools) for c in conversations]
        try:
            async with asyncio.timeout(self._deadline_s):
                shares = await self._ask(fields)
        except TimeoutError:
            return "late", None
        except Exception as error:  # noqa: BLE001 - whatever it is, the request has a score
            # No text of the error: it may quote a prompt.
            logger.debug("the classifier service failed: %s", type(error).__name__)
            return "failed", None
        if len(shares) != len(fields) or not all(0.0 < share <= 1.0 for share in shares):
            return "failed", None
        return "answered", shares


def asking_of(handle: DeploymentHandle[Any]) -> Ask:
    """Ask the deployment; who no longer waits takes the request back."""

    async def ask(fields: list[tuple[str, str, int, int]]) -> list[float]:
        response = handle.shares.remote(fields)
        try:
            answer: list[float] = await response
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                response.cancel()  # type: ignore[no-untyped-call]
            raise
        return answer

    return ask
