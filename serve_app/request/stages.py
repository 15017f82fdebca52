"""How long a request was in each of its stages, and the header that says so."""

from __future__ import annotations

import time
from enum import StrEnum


class Stage(StrEnum):
    """The stages of a request; their order is that of `Server-Timing`.

    Attributes:
        AUTH: finding out who calls. Before the body is read, and before `Call.started`.
        PARSE: the body to a plan: JSON, session, history, estimates; without `CLASSIFY`.
        CLASSIFY: the choice of the lane, with the classifier where it is asked.
        SUMMARISE: waiting for summaries that the request lacks.
        QUEUE: taking a slot of the lane, and waiting for it where none is free.
        CHOOSE: the choice of the replica.
        ENGINE: from sending the request until the answer's first event, or all of an
            answer that is no stream, is here.
        RELAY: from there until the last byte is passed on. Of a stream that is the time
            in which the engine generates.
        OTHER: everything else: accounting, the engine's body, pauses between attempts.

    """

    AUTH = "auth"
    PARSE = "parse"
    CLASSIFY = "classify"
    SUMMARISE = "summarise"
    QUEUE = "queue"
    CHOOSE = "choose"
    ENGINE = "engine"
    RELAY = "relay"
    OTHER = "other"


class Stages(dict[str, float]):
    """Seconds by stage, of the stages that were left at least once.

    A request is in one stage at any time, so that the stages but `AUTH` add up to its
    duration. It begins in `PARSE`; a stage that is entered several times is added up.

    Args:
        started: when the request began, by `time.perf_counter`.

    """

    __slots__ = ("_now_in", "_since")

    def __init__(self, started: float) -> None:
        super().__init__()
        self._now_in: Stage | None = Stage.PARSE
        self._since = started

    def enter(self, stage: Stage) -> None:
        """Leave the stage that the request is in for another, or note how far it has come."""
        left = self._now_in
        if left is not None:
            now = time.perf_counter()
            spent = now - self._since
            self[left] = self[left] + spent if left in self else spent
            self._now_in, self._since = stage, now

    def close(self) -> float:
        """End the last stage, and return when: nothing is entered after that."""
        self.enter(Stage.OTHER)
        self._now_in = None
        return self._since


def server_timing(stages: dict[str, float], total_s: float) -> bytes:
    """Return the value of a `Server-Timing` header: stages so far and `total`, milliseconds.

    `total` is what has passed since the request was received whole.
    https://www.w3.org/TR/server-timing/#the-server-timing-header-field
    """
    known = [(stage.value, stages[stage]) for stage in Stage if stage in stages]
    known.append(("total", total_s))
    return ", ".join(f"{name};dur={1000 * s:.3f}" for name, s in known).encode()
