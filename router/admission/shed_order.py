"""Was protected work refused while sheddable was held? Evidence, apart from the code that sheds.

Each ingress replica writes what becomes of its requests into an `AdmissionLog`. A protected
request may be refused for want of room (`ROOM_CODES`) only after it is confirmed, at most
`LAG_S` ago, that no ingress replica holds sheddable work of the lane, queued or before its first
token. The confirmations of different replicas may be of different moments, so a refusal at t
is in order when every replica held none at some moment of [t - LAG_S, t], and a violation
when one of them held some throughout. `judge` decides that from the logs alone: it knows
no queue, no slots, no levels.

A log is bounded. What falls off its end is folded into the set of sheddable requests held at
that moment, so a request that has waited for an hour still counts. Where a log does not
reach from one end of the window to the other, what it shows may still clear the refusal;
else the verdict is UNKNOWN, never a guess.

Times are seconds of one clock; `Held.read` shifts those of another.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

LAG_S = 0.5
"""How old a confirmation may be."""

ROOM_CODES = frozenset({"shed", "no_replica", "deadline_exceeded"})
"""Refusals for want of room. A tenant's own ceilings and quotas have other codes."""

MAX_EVENTS = 16_384
KEEP_S = 15.0


class Event(IntEnum):
    """What happens to a request in its lane. The last three end its hold."""

    QUEUED = 0
    STARTED = 1
    FIRST_TOKEN = 2
    LEFT = 3
    REFUSED = 4


@dataclass(frozen=True, slots=True)
class Refusal:
    """Protected work that was refused for want of room."""

    at: float
    lane: str
    tier: str
    code: str


class AdmissionLog:
    """The latest admission events of one ingress replica: at most `max_events`, of `keep_s`.

    About 200 bytes an event; a number for every sheddable request held besides.
    """

    def __init__(self, *, now: float, max_events: int = MAX_EVENTS, keep_s: float = KEEP_S) -> None:
        self._born = now
        self._max_events, self._keep_s = max_events, keep_s
        # Of sheddable work: time, lane, the request's number, whether its hold begins or ends.
        self._entries: deque[tuple[float, str, int, bool]] = deque()
        self._numbers = itertools.count(1)
        self._refusals: deque[Refusal] = deque(maxlen=max_events)
        self._untaken = 0
        # What is known of the time before the first entry: until when it reaches back, and
        # what was held then.
        self._start: float | None = None
        self._held: dict[str, set[int]] = {}

    def number(self) -> int:
        return next(self._numbers)

    def note(
        self,
        at: float,
        lane: str,
        number: int,
        tier: str,
        event: Event,
        *,
        sheddable: bool,
        code: str = "",
    ) -> None:
        """Write an event; times do not fall."""
        if not sheddable:
            if event is Event.REFUSED and code in ROOM_CODES:
                self._refusals.append(Refusal(at, lane, tier, code))
                self._untaken += 1
            return
        if event is Event.STARTED:
            return
        entries = self._entries
        entries.append((at, lane, number, event is Event.QUEUED))
        # Two at most: amortised, and never a long pause.
        if len(entries) > self._max_events or entries[0][0] < at - self._keep_s:
            self._fold(entries.popleft())
            if entries[0][0] < at - self._keep_s:
                self._fold(entries.popleft())

    def take_refusals(self) -> tuple[list[Refusal], int]:
        """Return refusals since the last call, and how many more were lost to the bound."""
        taken, self._refusals = list(self._refusals), deque(maxlen=self._max_events)
        lost, self._untaken = self._untaken - len(taken), 0
        return taken, lost

    def _fold(self, entry: tuple[float, str, int, bool]) -> None:
        self._start, lane, number, comes = entry
        held = self._held.setdefault(lane, set())
        (held.add if comes else held.discard)(number)

    def export(self, now: float) -> dict[str, Any]:
        """Return what others need to judge: when sheddable work was held. Plain data."""
        held = {lane: sorted(numbers) for lane, numbers in self._held.items() if numbers}
        times = {"born": self._born, "start": self._start, "until": now}
        return {**times, "held": held, "events": list(self._entries)}


@dataclass(frozen=True, slots=True)
class Held:
    """When one ingress replica held sheddable work.

    Attributes:
        born: when its log began: before it, the replica held nothing.
        start: from when on the log is whole.
        until: when it was read.
        spans: by lane, half-open, in order: some sheddable request was held throughout.
        skew_s: by how much its times may be off.

    """

    replica: str
    born: float
    start: float
    until: float
    spans: Mapping[str, list[tuple[float, float]]]
    skew_s: float = 0.0

    @classmethod
    def read(
        cls, replica: str, exported: Mapping[str, Any], shift_s: float = 0.0, skew_s: float = 0.0
    ) -> Held:
        """Read an export whose clock is `shift_s` behind ours, give or take `skew_s`.

        Raises KeyError, TypeError or ValueError where it is not one.
        """
        start = float("-inf") if exported["start"] is None else exported["start"] + shift_s
        held = {lane: set(numbers) for lane, numbers in exported["held"].items()}
        begun = dict.fromkeys(held, start)
        spans: dict[str, list[tuple[float, float]]] = {}
        for at, lane, number, comes in exported["events"]:
            numbers = held.setdefault(lane, set())
            if comes:
                if not numbers:
                    begun[lane] = at + shift_s
                numbers.add(number)
            elif number in numbers:
                numbers.discard(number)
                if not numbers:
                    spans.setdefault(lane, []).append((begun.pop(lane), at + shift_s))
        for lane, at in begun.items():
            spans.setdefault(lane, []).append((at, float("inf")))
        born, until = exported["born"] + shift_s, exported["until"] + shift_s
        return cls(replica, born, start, until, spans, skew_s)

    def covers(self, lane: str, begin: float, end: float) -> bool:
        """Return whether sheddable work of the lane was held all through [begin, end]."""
        spans = self.spans.get(lane, [])
        index = bisect_right(spans, begin, key=lambda span: span[0]) - 1
        return index >= 0 and spans[index][1] > end


class Verdict(Enum):
    """What the logs say of a refusal."""

    CLEAR = "clear"
    VIOLATION = "violation"
    UNKNOWN = "unknown"


def judge_one(refusal: Refusal, log: Held, lag_s: float = LAG_S) -> Verdict:
    """Return what one replica's log says; a clock that may be off widens the window."""
    begin, end = refusal.at - lag_s - log.skew_s, refusal.at + log.skew_s
    seen_begin, seen_end = max(begin, log.start), min(end, log.until)
    if seen_begin > seen_end:
        return Verdict.UNKNOWN
    if not log.covers(refusal.lane, seen_begin, seen_end):
        return Verdict.CLEAR
    is_whole = (seen_begin, seen_end) == (begin, end)
    return Verdict.VIOLATION if is_whole else Verdict.UNKNOWN


def judge(
    refusal: Refusal, logs: Iterable[Held], replicas: int, lag_s: float = LAG_S
) -> tuple[Verdict, str | None]:
    """Return what the logs say together, and which replica held sheddable work, if known.

    CLEAR takes the word of `replicas` of them that lived at the time: one that is gone may
    have held sheddable work, and its successor does not know.
    """
    clear = 0
    for log in logs:
        verdict = judge_one(refusal, log, lag_s)
        if verdict is Verdict.VIOLATION:
            return verdict, log.replica
        clear += verdict is Verdict.CLEAR and log.born <= refusal.at
    return (Verdict.CLEAR if clear >= replicas else Verdict.UNKNOWN), None
