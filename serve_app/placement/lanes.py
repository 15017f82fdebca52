"""The ingress's side of the lanes: which replica, and a connection to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ray.serve.exceptions import DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.serve.request_router import RunningReplica

from router.placement.affinity import TurnFacts
from router.placement.hot_prefixes import HotPrefix
from router.placement.replica import rank_replicas
from serve_app.config.serving import TimeoutConfig
from serve_app.placement.turn_placement import TURN_HEADER, Placed, TurnPlacement
from serve_app.transport.broadcast import ask_all
from serve_app.transport.endpoint import SECRET_HEADER
from serve_app.transport.feed import Feed
from serve_app.transport.upstream import BrokenConnection, Response, SilentConnection, Upstream

PREFILL_MARGIN_S = 2.0
"""For the calls around what a replica was given time for."""

DRAIN_WITHIN_S = 3.0

Order = Callable[[Mapping[str, Mapping[str, Any]]], list[str]]
"""From what each live replica published last, by id, to ids, most preferred first."""


class NoReplica(Exception):
    """No replica of the lane can be had now."""


class UpstreamFault(Exception):
    """A replica failed or fell silent; nothing is wrong with the request."""


class Unreachable(UpstreamFault):
    """Nothing answers at the replica's address."""


class UpstreamTimeout(UpstreamFault):
    """The engine took longer than the configured time."""


@dataclass(frozen=True, slots=True)
class Replica:
    """A chosen replica of a lane: its id in Serve and the base URL it published.

    `placed` says how the policy came to it; None where no turn was placed.
    """

    id: str
    url: str
    lane: str = ""
    placed: Placed | None = None


class Lanes:
    """Chooses replicas through Serve's handles and opens requests to them."""

    def __init__(
        self,
        handles: dict[str, DeploymentHandle[Any]],
        secret: str,
        timeouts: TimeoutConfig,
        placements: Mapping[str, TurnPlacement],
        feed: type[Feed] = Feed,
    ) -> None:
        self._handles = handles
        self._placements = placements
        self._rank: dict[str, Callable[[Order], list[RunningReplica]]] = {}
        self._upstream = Upstream(
            {SECRET_HEADER.decode(): secret, "content-type": "application/json"}, timeouts, feed
        )
        self.timeouts = timeouts

    def apply(self, timeouts: TimeoutConfig) -> None:
        self.timeouts = timeouts
        self._upstream.apply(timeouts)

    def names(self) -> list[str]:
        return list(self._handles)

    async def choose(
        self, lane: str, session: TurnFacts | str, avoid: frozenset[str] = frozenset()
    ) -> Replica:
        """Return the replica for a turn; raise NoReplica after `choose_s`.

        It is one of those that Serve's request router lists; where it lists none yet, Serve's
        `choose_replica` waits for one. `_reserve=False` skips its slot reservation: a 4 ms
        call whose slot leaks when the ingress is killed. See docs/adr/0002-data-plane.md.

        What is no turn gives only a name as its session: it gets the same replica each time
        and counts nowhere. Replicas to avoid come last.
        """
        placed: Placed | None = None

        def rank_by(stats: Mapping[str, Mapping[str, Any]]) -> list[str]:
            nonlocal placed
            if isinstance(session, str):
                return rank_replicas(session, list(stats), avoid | _draining(stats))
            placed = self._placements[lane].place(session, stats, avoid)
            return placed.order

        rank = self._rank.get(lane)
        try:
            if rank is not None and (ranked := rank(rank_by)):
                url = ranked[0].replica_metadata["url"]
                return Replica(ranked[0].replica_id.unique_id, url, lane, placed)
            on_ranker = partial(self._rank.__setitem__, lane)
            async with (
                asyncio.timeout(self.timeouts.choose_s),
                self._handles[lane].choose_replica(
                    rank_by=rank_by, on_ranker=on_ranker, _reserve=False
                ) as selection,
            ):
                url = selection.replica_metadata["url"]
                return Replica(selection.replica_id, url, lane, placed)
        except (TimeoutError, DeploymentUnavailableError, KeyError) as error:
            raise NoReplica(lane) from error

    async def is_ready(self, lane: str, *, within_s: float = 0.25) -> bool:
        try:
            async with asyncio.timeout(within_s):
                await self.choose(lane, "readiness")
        except (TimeoutError, NoReplica):
            return False
        return True

    async def open(
        self, replica: Replica, path: str, body: bytes, headers: dict[str, str]
    ) -> Response:
        """Send a request and wait for the response's head.

        Raises UpstreamFault when the replica breaks off or gives no sign of life,
        Unreachable when nothing accepts, UpstreamTimeout when nothing comes back in
        `read_s`.
        """
        if replica.placed is None:
            return await self._post(replica, path, body, headers)
        placement = self._placements[replica.lane]
        placement.begin(replica.id)
        try:
            told = {**headers, TURN_HEADER: replica.placed.header}
            response = await self._post(replica, path, body, told)
        except BaseException:
            placement.end(replica.id)
            raise
        response.when_closed(lambda: placement.end(replica.id))
        return response

    async def _post(
        self, replica: Replica, path: str, body: bytes, headers: dict[str, str]
    ) -> Response:
        try:
            return await self._upstream.post(replica.url, path, body, headers)
        except SilentConnection as error:
            raise UpstreamTimeout(replica.id) from error
        except BrokenConnection as error:
            raise UpstreamFault(replica.id) from error
        except OSError as error:
            # TimeoutError of connecting is one, too.
            raise Unreachable(replica.id) from error

    async def is_alive(self, replica: Replica) -> bool | None:
        return await self._upstream.is_alive(replica.url)

    async def engine_load(self, lane: str, *demand: float) -> list[dict[str, Any]]:
        """Load of every replica of a lane; of none where one is late.

        `demand`, of a lane that is scaled, is told along (`LaneDemand.told`).

        Slots are given out by it, and one that is busy is no replica less. One that drains
        has none to give, unless all do.
        """
        told = (self._placements[lane].me, *demand) if demand else ()
        found = await self._ask(lane, "engine_load", *told, within_s=1.0)
        if any(isinstance(x, TimeoutError) for x in found):
            return []
        rows = [x for x in found if isinstance(x, dict)]
        return [x for x in rows if not x.get("draining")] or rows

    async def engine_metrics(self, lane: str) -> list[dict[str, Any]]:
        found = await self._ask(lane, "engine_metrics", within_s=2.0)
        return [x for x in found if isinstance(x, dict)]

    async def prefill(
        self, lane: str, model_id: str, hot: list[HotPrefix], *, within_s: float
    ) -> list[int | None]:
        """Have every replica read prefixes; how many each has read, None: it did not answer."""
        found = await self._ask(
            lane, "read_prefixes", model_id, hot, within_s, within_s=within_s + PREFILL_MARGIN_S
        )
        return [x if isinstance(x, int) else None for x in found]

    async def begin_drain(
        self, lane: str, replica: str, end_within_s: float | None
    ) -> dict[str, Any] | None:
        """Have one replica drain (`Drain.begin`); what it says, None: it did not answer."""
        asked = self._ask(lane, "begin_drain", replica, end_within_s, within_s=DRAIN_WITHIN_S)
        return next((x for x in await asked if isinstance(x, dict)), None)

    async def stop_drain(self, lane: str, replica: str) -> dict[str, Any] | None:
        """Have one replica take turns again; what it says, None: it did not answer."""
        found = await self._ask(lane, "stop_drain", replica, within_s=DRAIN_WITHIN_S)
        return next((x for x in found if isinstance(x, dict)), None)

    def withdraw(self, lane: str, replica: str) -> None:
        """Place nothing on a replica from now on, before it says itself that it drains."""
        self._placements[lane].withdraw(replica)

    def restore(self, lane: str, replica: str) -> None:
        """Go by what the replica says again."""
        self._placements[lane].restore(replica)

    async def _ask(self, lane: str, method: str, *args: Any, within_s: float) -> list[Any]:
        try:
            return await ask_all(self._handles[lane], method, *args, within_s=within_s)
        except (TimeoutError, DeploymentUnavailableError):
            return []

    async def close(self) -> None:
        await self._upstream.close()


def _draining(stats: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(replica for replica, told in stats.items() if told.get("draining"))
