"""Which objectives a request's end speaks for, and whether it kept them.

An objective judges only requests that show whether it held: docs/slo.md has the rules as a
table, with the reasons.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from router.slo.objectives import Objective, Targets

FIRST_TOKENS = 30
"""Tokens after which a reader is under way: the objective of that name is the time to so many."""

Judged = tuple[Objective, bool]
"""An objective, and whether the request kept it."""


class End(Enum):
    """How a request ended, as far as objectives are concerned."""

    ANSWERED = "answered"
    FAILED = "failed"
    """It was shed, or it or its stream ended with an error of the service."""
    LEFT = "left"
    """The client did not wait for the end."""
    EXCUSED = "excused"
    """Refused for what the client sent, or by its tenant's own ceilings."""


class Ended(NamedTuple):
    """A request that has ended. Times are seconds since its arrival.

    Attributes:
        took_s: when all of the answer was there; of a client that left, when it did.
        ttft_s: when the first token was there; None: no stream, none came, or it does not count.
        first_tokens_s: when `FIRST_TOKENS` were there; None: the same, or fewer came.
        tokens: of its answer, as far as it came.
        is_stream: its client asked for one.
        is_timed: somebody waits for it, and an engine writes an answer.

    """

    end: End
    took_s: float
    ttft_s: float | None = None
    first_tokens_s: float | None = None
    tokens: int = 0
    is_stream: bool = False
    is_timed: bool = True


def judged(ended: Ended, targets: Targets) -> list[Judged]:
    """Return the objectives that the request is an event of, in no order."""
    found: list[Judged] = []
    if targets.failures_ratio is not None and ended.end in (End.ANSWERED, End.FAILED):
        found.append((Objective.FAILURES, ended.end is End.ANSWERED))
    if not ended.is_timed or ended.end not in (End.ANSWERED, End.LEFT):
        return found
    has_left = ended.end is End.LEFT
    limit = targets.ttft_p95_s
    if limit is not None and ended.is_stream:
        # Of a client that left, only where it had been given nothing.
        is_late = has_left and not ended.tokens and ended.took_s > limit
        _judge(found, Objective.TTFT, limit, ended.ttft_s, is_late=is_late)
    limit = targets.first_tokens_p95_s
    if limit is not None:
        _judge(found, Objective.FIRST_TOKENS, limit, ended.first_tokens_s)
    limit, longest = targets.answer_p95_s, targets.answer_tokens
    if limit is not None and (longest is None or ended.tokens <= longest):
        took_s, is_late = ended.took_s, has_left and ended.took_s > limit
        _judge(found, Objective.ANSWER, limit, None if has_left else took_s, is_late=is_late)
    return found


def _judge(
    found: list[Judged],
    objective: Objective,
    limit_s: float,
    came_s: float | None,
    *,
    is_late: bool = False,
) -> None:
    """Judge what came by its time, and what did not come if it was late all the same.

    A client that left before the limit shows nothing: it may have been served in time.
    """
    if came_s is not None:
        found.append((objective, came_s <= limit_s))
    elif is_late:
        found.append((objective, False))
