"""Draining a lane replica over HTTP: who may be, and that every ingress replica knows.

The replica itself keeps the mark and publishes it with its load, so an ingress replica that begins
later knows it, too, and it ends with the replica. The ingress replicas that live are told
besides, and place nothing there from that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from router.errors import Rejected, RejectReason
from serve_app.admin.peers import Peers, Told
from serve_app.config.errors import StrictModel
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes


class DrainReplica(StrictModel):
    """How a replica is to be drained.

    Attributes:
        end: it ends once it is empty, and Serve starts another in its place.
        within_s: with `end`: it ends after so many seconds, whatever still runs there. Streams
            that are cut off then go on from another replica where they can.
        force: although no other replica of a required lane takes turns.

    """

    end: bool = False
    within_s: float = Field(900, ge=1, le=86_400)
    force: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    lane: str
    rows: list[Told]

    def others(self, replica: str) -> list[Told]:
        return [x for x in self.rows if x["replica"] != replica and not x.get("draining")]


class DrainDesk:
    """Drains replicas, one at a time in this ingress replica."""

    def __init__(self, state: IngressState, lanes: Lanes, peers: Peers) -> None:
        self._state = state
        self._lanes = lanes
        self._peers = peers
        self._turn = asyncio.Lock()

    async def listing(self) -> Told:
        """Return the replicas of every lane that answer."""
        lanes = self._state.policies.fleet.enabled_lanes
        return {
            "replicas": [
                {
                    "replica": row["replica"],
                    "lane": found.lane,
                    "required": lanes[found.lane].required,
                    "draining": bool(row.get("draining")),
                    "in_flight": row["in_flight"],
                    "others": len(found.others(row["replica"])),
                }
                for found in await self._all()
                for row in found.rows
            ]
        }

    async def drain(self, replica: str, asked: DrainReplica) -> Told | Rejected | None:
        """Drain a replica; None: there is none of this id. Refused: it is its lane's last."""
        async with self._turn:
            found = await self._find(replica)
            if found is None:
                return None
            is_last = self._is_last(found, replica)
            if is_last and not asked.force:
                return _last(found.lane)
            ingress = await self._peers.ask("withdraw", found.lane, replica)
            within_s = asked.within_s if asked.end else None
            told = await self._lanes.begin_drain(found.lane, replica, within_s)
            again = await self._find(replica)
            # Another one may have been drained from another ingress replica meanwhile.
            raced = again is not None and self._is_last(again, replica) and not is_last
            if told is None or (raced and not asked.force):
                await self._take_back(found.lane, replica)
                return _last(found.lane) if told is not None else _silent(found.lane)
            return _outcome(found.lane, replica, told, ingress)

    async def undrain(self, replica: str) -> Told | Rejected | None:
        """Have a replica take turns again; None: there is none of this id."""
        async with self._turn:
            found = await self._find(replica)
            if found is None:
                return None
            told, ingress = await self._take_back(found.lane, replica)
            return _outcome(found.lane, replica, told, ingress) if told else _silent(found.lane)

    async def _take_back(self, lane: str, replica: str) -> tuple[Told | None, list[Told]]:
        told = await self._lanes.stop_drain(lane, replica)
        return told, await self._peers.ask("restore", lane, replica)

    def _is_last(self, found: _Found, replica: str) -> bool:
        is_required = self._state.policies.fleet.enabled_lanes[found.lane].required
        return is_required and not found.others(replica)

    async def _find(self, replica: str) -> _Found | None:
        for found in await self._all():
            if any(row["replica"] == replica for row in found.rows):
                return found
        return None

    async def _all(self) -> list[_Found]:
        names = self._lanes.names()
        rows = await asyncio.gather(*(self._lanes.engine_metrics(name) for name in names))
        return [_Found(name, found) for name, found in zip(names, rows, strict=True)]


def draining_warnings(lanes: Mapping[str, Told]) -> list[str]:
    """Return a sentence for each replica that drains, of the lanes' part of `/status`.

    Whoever has forgotten it would wonder why a card has nothing to do.
    """
    return [
        f"replica {row['replica']} of lane '{lane}' is drained by an admin: 'pointsman drain "
        f"{row['replica']} --undo' has it take turns again"
        for lane, told in lanes.items()
        for row in told["replicas"]
        if row.get("draining")
    ]


def _outcome(lane: str, replica: str, told: Told, ingress: list[Told]) -> Told:
    is_ok = all(x["ok"] for x in ingress)
    return {"ok": is_ok, "replica": replica, "lane": lane, **told, "ingress": ingress}


def _last(lane: str) -> Rejected:
    return Rejected(
        RejectReason.INVALID_REQUEST,
        f"No other replica of the required lane '{lane}' takes turns: start one first, or drain it "
        "all the same with 'force'. It then serves on until another one does.",
        param="force",
    )


def _silent(lane: str) -> Rejected:
    return Rejected(
        RejectReason.NO_REPLICA,
        f"The replica of lane '{lane}' did not answer; nothing was changed.",
    )
