"""What is said while a deployment starts: a line a stage, with the seconds that it took.

Pure: `serve_app/machine/start.py` looks and writes, this says what there is to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serve_app.machine.failures.reader import read_failure

ENDS = re.compile(r"\x1b\[[0-9;]*m")
RAISED = re.compile(r"(?:^|[\s.:(])([A-Z]\w*(?:Error|Exception|Exit|Silent)): *(\S.*)")
SAYS_NOTHING = frozenset({"RayTaskError", "ActorDiedError", "RayActorError", "DeploymentFailed"})
SEE_ABOVE = "root cause above"
"""What vLLM and Ray say where another process has raised what matters."""

WAITS = "to be scheduled"
"""What Serve says, after half a minute, of a replica that Ray finds no place for."""
ASKED = re.compile(r"Resources required for each replica: (.+?)\. Use `ray status`", re.DOTALL)

MAX_CAUSE_LINES = 4
MAX_CAUSE_CHARS = 600


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at the deployment has shown.

    Attributes:
        applications: as Serve's REST API describes them, by name.
        warming: names of deployments whose replica has said that its engine is loaded.
        log: lines that all processes have printed.

    """

    applications: Mapping[str, Any] = field(default_factory=dict)
    warming: frozenset[str] = frozenset()
    log: Sequence[str] = ()


class StartFailed(Exception):
    """The start has come to an end without a deployment; the text says why."""


class Progress:
    """Turns what is seen into lines, each told once; times are seconds on any clock."""

    def __init__(self, now: float) -> None:
        self._begun = now
        self._open: dict[tuple[str, str], float] = {}
        self._told: set[tuple[str, str]] = set()

    def begin(self, what: str, stage: str, now: float) -> None:
        """A stage has begun; nothing where it had begun or ended before."""
        if (what, stage) not in self._told:
            self._open.setdefault((what, stage), now)

    def end(self, what: str, stage: str, now: float) -> list[str]:
        """The line of a stage that is over; nothing where it was not open."""
        since = self._open.pop((what, stage), None)
        if since is None:
            return []
        self._told.add((what, stage))
        return [line(what, stage, now - since)]

    def observe(self, seen: Seen, now: float) -> list[str]:
        """Lines of what has changed.

        Raises:
            StartFailed: Serve has given an application up.

        """
        lines = []
        for name, app in seen.applications.items():
            if app.get("status") == "DEPLOY_FAILED":
                raise StartFailed(cause_of(_message_of(name, app), seen.log))
            for deployment in app.get("deployments", {}):
                lines += self._observe(deployment, app["deployments"][deployment], seen, now)
        return lines

    def _observe(self, name: str, state: Mapping[str, Any], seen: Seen, now: float) -> list[str]:
        what = name.replace("lane:", "lane ")
        is_lane, warms = what != name, name in seen.warming
        lines = self._failure(what, state, seen.log)
        replicas = state.get("replicas", [])
        is_up = any(x.get("state") == "RUNNING" for x in replicas)
        loading = "loading" if is_lane else "starting"
        self.begin(what, loading, now)
        if warms or is_up:
            lines += self.end(what, loading, now)
        if is_lane and warms and not is_up:
            self.begin(what, "warming", now)
        if is_up:
            lines += self.end(what, "warming", now)
            lines += self._once(what, "ready", line(what, "ready", now - self._begun, after=True))
        return lines

    def _failure(self, what: str, state: Mapping[str, Any], log: Sequence[str]) -> list[str]:
        message = state.get("message") or ""
        if WAITS in message:
            # Without a card in it, a worker that is slow to start has the same message.
            fix = _fix(what, message, log)
            text = f"  {what}: waits for a card: {_asked(message)}"
            return [*told, *fix] if fix and (told := self._once(what, WAITS, text)) else []
        if "failed to start" not in message:
            return []
        text = f"  {what}: a replica did not start, Serve tries again: {cause_of(message, log)}"
        told = self._once(what, message[:80], text)
        return [*told, *_fix(what, message, log)] if told else []

    def _once(self, what: str, key: str, text: str) -> list[str]:
        if (what, key) in self._told:
            return []
        self._told.add((what, key))
        return [text]

    def running(self, now: float) -> str:
        """The open stages in one line, for a terminal that shows it in place."""
        parts = [
            f"{what} {stage} {now - since:.0f} s" for (what, stage), since in self._open.items()
        ]
        return " · ".join(parts)


def line(what: str, stage: str, seconds: float, *, after: bool = False) -> str:
    """One line of the list; `after`: the seconds since the start."""
    return f"  {what:<16}{stage:<12}{'after' if after else '':<6}{seconds:7.1f} s"


def _asked(message: str) -> str:
    """What a replica asks for and what there is, as Serve says it."""
    found = ASKED.search(message)
    return " ".join(found[1].split())[:MAX_CAUSE_CHARS] if found else message[:MAX_CAUSE_CHARS]


def _fix(what: str, message: str, log: Sequence[str]) -> list[str]:
    """The line with what mends it, where that is known from what is said of this lane."""
    lane = what.removeprefix("lane ")
    own = [line for line in log if f":lane:{lane} " in line]
    reading = read_failure("\n".join([message, *own]), lane=lane)
    return [f"    Fix: {reading.fix}"] if reading.name else []


def _message_of(name: str, app: Mapping[str, Any]) -> str:
    """What Serve says of an application that it gave up, and of its failed deployments."""
    failed = [
        x["message"]
        for x in app.get("deployments", {}).values()
        if x.get("status") == "DEPLOY_FAILED" and x.get("message")
    ]
    return "\n".join(failed) or app.get("message") or f"'{name}' could not be deployed"


def cause_of(text: str, engine_log: Iterable[str] = ()) -> str:
    """The sentence that says why, out of tracebacks; the last line where none says so.

    Args:
        text: what Serve says; its last exception is the one that was not caught.
        engine_log: lines in which another process may have said more. Its first
            exception is the one that the others follow from.

    """
    raised = _raised(ENDS.sub("", text).splitlines())
    cause = raised[-1] if raised else ""
    if not cause or SEE_ABOVE in cause:
        below = _raised(ENDS.sub("", x) for x in engine_log)
        cause = next((x for x in below if SEE_ABOVE not in x), cause)
    return cause or _last_line(text)


def _raised(lines: Iterable[str]) -> list[str]:
    """`Error: message` of each exception, with what follows it up to an empty line."""
    found: list[list[str]] = []
    is_open = False
    for text in lines:
        match = RAISED.search(text)
        if match and match[1] not in SAYS_NOTHING:
            found.append([f"{match[1]}: {match[2]}"])
            is_open = True
        elif is_open and text.startswith(" ") and text.strip() and len(found[-1]) < MAX_CAUSE_LINES:
            found[-1].append(text.strip())
        else:
            is_open = False
    return [" ".join(part)[:MAX_CAUSE_CHARS] for part in found]


def _last_line(text: str) -> str:
    lines = [x.strip() for x in ENDS.sub("", text).splitlines() if x.strip()]
    return lines[-1][:MAX_CAUSE_CHARS] if lines else "no reason was given"
