"""Asking lanes for answers to cases: pinned, marked as background, on spare room only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from evals.replay.cases import Case
from evals.replay.judging import JUDGE_MAX_TOKENS, Judged, judge_messages, verdict
from evals.replay.said import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Said, said_of
from serve_app.commands.label.checks import Command
from serve_app.commands.label.client import Deployment, LaneRefused, SampleFailed
from serve_app.commands.label.rows import Prompt
from serve_app.commands.replay.folder import RunFolder
from serve_app.commands.replay.spare import SpareRoom

BACKGROUND = {"x-pointsman-background": "1"}
SEED = 1

_LIMITS = {
    CHAT: ("max_completion_tokens", "max_tokens"),
    COMPLETIONS: ("max_tokens",),
    MESSAGES: ("max_tokens",),
    RESPONSES: ("max_output_tokens",),
}
"""By API, the members that bound an answer; the last is what we set."""


@dataclass
class Asker:
    """Asks what the folder does not hold yet.

    Attributes:
        most_tokens: of an answer, where the case asks for more or does not say.
        failures: what could not be answered, and why: nothing of it is kept.

    """

    deployment: Deployment
    room: SpareRoom
    folder: RunFolder
    most_tokens: int
    failures: dict[str, str] = field(default_factory=dict)

    async def said(self, case: Case, lane: str) -> Said | None:
        """Return a lane's answer; None: it has to be asked another time."""
        key = (lane, case.digest, self.most_tokens)
        known = self.folder.said(key)
        if known is not None:
            return known
        try:
            said = await self._ask(case, lane)
        except SampleFailed as error:
            self.failures[f"{lane}: {case.name}"] = str(error)
            return None
        self.folder.keep_said(key, case.name, said)
        return said

    async def _ask(self, case: Case, lane: str) -> Said:
        body = asked(case, lane, self.most_tokens)
        headers = BACKGROUND | {"x-session-id": _session(lane, case)}
        async with self.room.place(lane):
            try:
                reply = await self.deployment.send(lane, case.api, body, headers)
            except LaneRefused as refused:
                # As good as no answer: the lane's window is too small, for instance.
                return Said(finish=f"refused: {refused.code}")
        try:
            said = said_of(case.api, reply.body)
        except ValueError as error:
            raise SampleFailed(f"{lane}: unreadable answer") from error
        return Said(said.text, said.calls, said.finish, reply.model)

    async def judged(self, case: Case, ours: Said, theirs: Said, judge: str) -> Judged | None:
        """Have a judge compare two answers, in both orders; None: another time, or no verdict."""
        key = (judge, case.digest, _digest(ours.text), _digest(theirs.text))
        known = self.folder.judged(key)
        if known is not None:
            return known
        request = str(case.body.get("messages") or case.body.get("prompt") or case.body)
        try:
            as_a = await self._verdict(judge, case, request, ours.text, theirs.text)
            as_b = await self._verdict(judge, case, request, theirs.text, ours.text)
        except SampleFailed as error:
            self.failures[f"{judge} judges {case.name}"] = str(error)
            return None
        found = Judged(as_a, as_b)
        self.folder.keep_judged(key, found)
        return found

    async def _verdict(self, judge: str, case: Case, request: str, a: str, b: str) -> str:
        async with self.room.place(judge):
            body = {
                "model": judge,
                "messages": judge_messages(request, a, b),
                "temperature": 0.0,
                "seed": SEED,
                "max_tokens": JUDGE_MAX_TOKENS,
            }
            headers = BACKGROUND | {"x-session-id": _session("judge", case)}
            reply = await self.deployment.send(judge, CHAT, body, headers)
        try:
            found = verdict(said_of(CHAT, reply.body).text)
        except ValueError as error:
            raise SampleFailed(f"judge '{judge}': unreadable answer") from error
        if found is None:
            raise SampleFailed(f"judge '{judge}': no verdict in the last line")
        return found

    async def passes(self, command: Command, case: Case, said: Said, lane: str) -> float | None:
        """Ask a program whether an answer passes; None: it broke."""
        key = (lane, case.digest, _digest(said.text))
        known = self.folder.passed(key)
        if known is not None:
            return known
        prompt = Prompt(dict(case.row or case.body), case.name, "command")
        try:
            found = await command.passes(prompt, said.text, lane)
        except SampleFailed as error:
            self.failures[f"command: {case.name}"] = str(error)
            return None
        self.folder.keep_passed(key, found)
        return found


def asked(case: Case, lane: str, most_tokens: int) -> dict[str, Any]:
    """Return the body that is sent: the case's, pinned, greedy, with a bounded answer."""
    limits = _LIMITS[case.api]
    given = [case.body[name] for name in limits if isinstance(case.body.get(name), int)]
    body = {name: value for name, value in case.body.items() if name not in (*limits, "n")}
    body |= {"model": lane, "temperature": 0.0, limits[-1]: min([most_tokens, *given])}
    if case.api in (CHAT, COMPLETIONS):
        body["seed"] = SEED
    return body


def _session(lane: str, case: Case) -> str:
    """A session of its own: no user's conversation moves for a replay."""
    return f"replay-{lane}-{case.digest[:24]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
