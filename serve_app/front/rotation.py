"""Moving a tool set's name to another version, blue/green, and what operators see of it.

Before traffic moves, every replica of every lane reads what the next requests will begin
with: each hot system prompt with the new version's tools, under its tenant's salt. Only then
does the set's name stand for the new version, on all ingress replicas; sessions that began
with another one stay on it for `HOLD_S`, because their whole conversation is cached behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from router.errors import Rejected, RejectReason
from serve_app.config.files import wall_s
from serve_app.engine.warm_up import Exported, together
from serve_app.pipeline.state import IngressState
from serve_app.placement.lanes import Lanes
from serve_app.registry.store import ToolStore
from serve_app.registry.tool_set import ToolSet, label
from serve_app.registry.tool_sets import Promotion

HOLD_S = 3600.0
"""As long as a session counts as live: what comes back later has lost its cache anyway."""

ASK_WITHIN_S = 5.0
REFRESH_WITHIN_S = 10.0

Broadcast = Callable[..., Awaitable[list[Any]]]
"""Calls a method on every ingress replica: its name, how long it may take, its arguments."""

Told = dict[str, Any]


class Answers(NamedTuple):
    """What ingress replicas said; `is_whole`: all of them did."""

    found: list[dict[Any, Any]]
    is_whole: bool


class Rotation:
    """Promotes versions, one at a time in this ingress replica.

    What another replica promotes meanwhile is found when the promotion is written.
    """

    def __init__(self, state: IngressState, lanes: Lanes, broadcast: Broadcast) -> None:
        self._state = state
        self._lanes = lanes
        self._broadcast = broadcast
        self._turn = asyncio.Lock()

    def listing(self) -> Told:
        """What there is, and what is refused."""
        book = self._state.tool_book
        sets = book.sets
        now = wall_s()
        return {
            "sets": [
                {
                    "name": name,
                    "promoted": sets.promoted[name].version,
                    "previous": sets.promoted[name].previous,
                    "held_sessions": len(held.versions)
                    if (held := sets.held.get(name)) is not None and held.until > now
                    else 0,
                    "versions": [_told(one) for _, one in sorted(versions.items())],
                }
                for name, versions in sorted(sets.versions.items())
                if name in sets.promoted
            ],
            "refused": list(book.refused),
        }

    def show(self, reference: str) -> Told | Rejected:
        """One version as each route's bodies get it."""
        found = self._state.tool_book.sets.find(reference)
        if isinstance(found, Rejected):
            return found
        forms = {path: form.tools for path, form in found.forms.items()}
        return {**_told(found), "digest": found.digest, "forms": forms}

    async def promote(self, reference: str, *, now: bool, force: bool) -> Told | Rejected:
        """Have a set's name stand for the version of `reference`.

        `now`: no session stays behind. `force`: also if a replica could not be warmed.
        """
        async with self._turn:
            # A file that was just put there is meant to be known.
            await self._refresh_all()
            target = self._state.tool_book.sets.find(reference)
            if isinstance(target, Rejected):
                return target
            if "@" not in reference:
                return _refused(f"Say which version: {reference}@NUMBER.")
            return await self._move(target, now=now, force=force)

    async def rollback(self, name: str, *, force: bool) -> Told | Rejected:
        """Have a set's name stand for the version before, for all sessions and at once."""
        if "@" in name:
            return _refused(_NAME_ALONE)
        async with self._turn:
            await self._refresh_all()
            sets = self._state.tool_book.sets
            found = sets.find(name)
            if isinstance(found, Rejected):
                return found
            previous = sets.promoted[found.name].previous
            target = sets.versions[found.name].get(previous) if previous is not None else None
            if target is None:
                return _refused(f"'{found.name}' has stood for no version but {found.version}.")
            return await self._move(target, now=True, force=force)

    async def retire(self, name: str) -> Told | Rejected:
        """Offer no version of a set whose files are gone."""
        if "@" in name:
            return _refused(_NAME_ALONE)
        async with self._turn:
            await self._refresh_all()
            found = self._state.tool_book.sets.find(name)
            store = self._state.tool_book.store
            if isinstance(found, Rejected) or store is None:
                return found if isinstance(found, Rejected) else _refused(_NONE)
            if self._state.tool_book.has_files(found.name):
                return _refused(f"'{found.name}' has files still: take them away first.")
            await asyncio.to_thread(store.retire, found.name)
            return {"ok": True, "name": found.name, "ingress": await self._refresh_all()}

    async def _move(self, target: ToolSet, *, now: bool, force: bool) -> Told | Rejected:
        store = self._state.tool_book.store
        before = self._state.tool_book.sets.promoted[target.name].version
        if store is None:
            return _refused(_NONE)
        if before == target.version:
            if now:
                await asyncio.to_thread(store.release, target.name)
                await self._refresh_all()
            return {"ok": True, "promoted": target.label, "previous": None, "warmed": []}
        told: Told = {"promoted": target.label, "previous": label(target.name, before)}
        hot = await self._hot(target)
        told["warmed"] = await self._warm(hot.found)
        sessions = Answers([], is_whole=True) if now else await self._sessions(target)
        why = _why_not(hot, told["warmed"], sessions)
        if why and not force:
            return {**told, "ok": False, "error": why}
        held = _held(sessions.found, target)
        is_moved = await self._write(store, target, before, held)
        ingress = await self._refresh_all()
        if not is_moved:
            return {**told, "ok": False, "error": _MEANWHILE.format(target.name)}
        return {**told, "ok": True, "held_sessions": len(held), "ingress": ingress}

    async def _write(
        self, store: ToolStore, target: ToolSet, before: int, held: dict[bytes, int]
    ) -> bool:
        promote = asyncio.to_thread(
            store.promote,
            target.name,
            Promotion(target.version, before),
            held,
            until=wall_s() + HOLD_S,
            at=datetime.now(UTC),
        )
        return await promote

    async def _hot(self, target: ToolSet) -> Answers:
        """What requests will begin with, by lane, as each ingress replica has seen it."""
        if not self._state.policies.fleet.warm_up.prefixes:
            return Answers([], is_whole=True)
        return await self._ask("tool_prefixes", target.name, target.version)

    async def _warm(self, hot: list[dict[Any, Any]]) -> list[Told]:
        """Have every lane replica read it; what each made of it."""
        lanes = [name for name in self._lanes.names() if any(x.get(name) for x in hot)]
        found = await asyncio.gather(
            *(self._warm_lane(lane, [x.get(lane, []) for x in hot]) for lane in lanes)
        )
        return [row for rows in found for row in rows]

    async def _warm_lane(self, lane: str, parts: list[list[Exported]]) -> list[Told]:
        config = self._state.policies.fleet.warm_up
        hot = together(parts, config.prefixes)
        model = self._state.policies.routing.lanes[lane].model_id
        outcomes = await self._lanes.prefill(lane, model, hot, within_s=config.within_s)
        return [
            {"lane": lane, "prefixes": len(hot), "read": done, "error": _why(done, len(hot))}
            for done in outcomes
        ] or [{"lane": lane, "prefixes": len(hot), "read": 0, "error": "no replica answered"}]

    async def _sessions(self, target: ToolSet) -> Answers:
        return await self._ask("sessions_of_tools", target.name)

    async def _ask(self, method: str, *args: Any) -> Answers:
        answers = await self._broadcast(method, ASK_WITHIN_S, *args)
        found = [x for x in answers if isinstance(x, dict)]
        return Answers(found, is_whole=len(found) == len(answers))

    async def _refresh_all(self) -> list[Any]:
        """Have every ingress replica look at the files and the store, this one first."""
        await asyncio.to_thread(self._state.tool_book.refresh, at_once=True)
        answers = await self._broadcast("refresh_tools", REFRESH_WITHIN_S)
        return [x if isinstance(x, dict) else {"ok": False} for x in answers]


_NONE = "This deployment has no tool registry."
_NAME_ALONE = "Say the set's name alone, without a version: all of the set is meant."
_SILENT = (
    "nothing was moved: not every ingress replica said {} it has seen; try again, or move "
    "without (--force)"
)
_COLD = (
    "nothing was moved: replicas of {} did not read the new version's prompts; try again, or "
    "move without (--force)"
)
_MEANWHILE = "nothing was moved: '{}' was promoted by somebody else meanwhile"


def _why_not(hot: Answers, warmed: list[Told], sessions: Answers) -> str:
    """Why a set's name should not move now; empty: it may."""
    cold = sorted({str(x["lane"]) for x in warmed if x["error"]})
    if cold:
        return _COLD.format(", ".join(cold))
    if not hot.is_whole:
        return _SILENT.format("which prompts")
    return "" if sessions.is_whole else _SILENT.format("which sessions")


def _held(sessions: list[dict[Any, Any]], target: ToolSet) -> dict[bytes, int]:
    merged = {session: version for x in sessions for session, version in x.items()}
    return {k: version for k, version in merged.items() if version != target.version}


def _refused(message: str) -> Rejected:
    return Rejected(RejectReason.INVALID_REQUEST, message, param="set")


def _why(done: int | None, wanted: int) -> str:
    if done is None:
        return "did not answer in time"
    return "" if done == wanted else f"read {done} of {wanted}"


def _told(one: ToolSet) -> Told:
    return {
        "set": one.label,
        "sha256": one.digest[:12],
        "tools": list(one.names),
        "bytes": max(form.bytes for form in one.forms.values()),
    }
