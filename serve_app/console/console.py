"""The page's figures of one ingress replica: where they come from, and who watches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from serve_app.console.deployments import States
from serve_app.console.feed import Snapshot, assemble
from serve_app.console.watchers import EVERY_S, MOST, Watchers

MISSES = 3
"""Rounds in a row that list the other ingress replicas and not this one: it is drained."""


class Sources(Protocol):
    """What answers `/metrics` and `/status`, and remembers the last requests."""

    async def metrics_text(self) -> str: ...

    async def status(self) -> dict[str, Any]: ...

    async def recent(self) -> list[dict[str, Any]]: ...


async def no_deployments() -> States:
    """Stand in for Serve's controller, where there is none."""
    return {}


class Console:
    """Builds the snapshots.

    Args:
        replica: this ingress replica's id; empty: it is the only one.
        deployments: how far Serve is with each.

    """

    def __init__(
        self,
        sources: Sources,
        *,
        replica: str = "",
        deployments: Callable[[], Awaitable[States]] = no_deployments,
        every_s: float = EVERY_S,
        most: int = MOST,
    ) -> None:
        self._sources = sources
        self._replica = replica
        self._deployments = deployments
        self._misses = 0
        self.watchers = Watchers(self.build, every_s=every_s, most=most)

    async def build(self) -> Snapshot:
        """Return the figures of now. All sources are asked at once, so they are of one moment."""
        text, status, recents, deployments = await asyncio.gather(
            self._sources.metrics_text(),
            self._sources.status(),
            self._sources.recent(),
            self._deployments(),
        )
        self._look_for_itself(recents)
        at = round(datetime.now(UTC).timestamp(), 3)
        return await asyncio.to_thread(
            assemble, at, text, status, recents, deployments, time.thread_time
        )

    def _look_for_itself(self, recents: list[dict[str, Any]]) -> None:
        """Notice that Serve lists this replica no more: open streams would hold its end up."""
        listed = [x.get("replica") for x in recents]
        if not self._replica or not listed or self._replica in listed:
            self._misses = 0
            return
        self._misses += 1
        if self._misses >= MISSES:
            self.watchers.end()

    def close(self) -> None:
        self.watchers.end()
