"""A request that is held while its lane begins to answer, and what was seen of its first tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from router.routing.cascade import uncertainty
from router.types import Lane


class HoldOutcome(StrEnum):
    """What became of a held request. A closed set: the values are metric labels."""

    MOVED = "moved"
    SURE = "sure"
    """Its lane was sure enough."""
    NO_BUDGET = "no_budget"
    """Its tenant's budget, or the part for moves, was spent meanwhile."""
    NO_ROOM = "no_room"
    """The stronger lane had no free slot at once, slept, or yielded."""
    LATE = "late"
    """A byte had left already, or a whole answer took longer than `whole_s`."""
    UNKNOWN = "unknown"
    """The engine told no log-probabilities."""
    UNASKED = "unasked"
    """It ended before its lane had begun."""
    FAILED = "failed"
    """It moved, and the stronger lane had no replica: its own lane answered after all."""


def stays() -> bool:
    """Decide that a request stays: nobody has asked an engine yet."""
    return False


@dataclass(slots=True)
class Hold:
    """One request's hold.

    Attributes:
        above: the lane that it may move to.
        most_tokens, hold_s: how long a stream is held: tokens, and seconds after the first one.
        whole_s: how long an answer that is no stream may take to be judged.
        adds: log-probabilities are asked for by us, so that the client must not see any.
        body: what the engine is asked while the hold is open.
        decide: says whether the request moves, and does all that goes with it; once.
        is_open: nothing is decided yet.
        is_noted: it was counted as a scored request.
        asked_at: when an engine was asked first; `first_at`: when the first token was there. By
            the event loop's clock.
        held_s: from `first_at` to the decision; of a whole answer since `asked_at`.
        logprobs: of the first tokens, in nats.
        tokens: all that were seen of this answer.
        outcome: what was decided; None: nothing yet.

    """

    above: Lane
    most_tokens: int
    hold_s: float
    whole_s: float
    adds: bool
    body: bytes = b""
    decide: Callable[[], bool] = stays
    is_open: bool = True
    is_noted: bool = False
    asked_at: float | None = None
    first_at: float | None = None
    held_s: float = 0.0
    logprobs: list[float] = field(default_factory=list)
    tokens: int = 0
    outcome: HoldOutcome | None = None

    @property
    def uncertainty(self) -> float | None:
        """Of the first tokens; None: nothing is known."""
        return uncertainty(self.logprobs)

    @property
    def has_moved(self) -> bool:
        """Whether what its own lane had begun was given up."""
        return self.outcome in (HoldOutcome.MOVED, HoldOutcome.FAILED)

    @property
    def has_enough(self) -> bool:
        return len(self.logprobs) >= self.most_tokens

    def begin_again(self) -> None:
        """Forget the tokens of an answer that broke off; the time goes on."""
        self.logprobs, self.tokens = [], 0

    def take(self, logprobs: list[float], now: float) -> None:
        """Note the tokens of an event, or of an answer."""
        if logprobs and self.first_at is None:
            self.first_at = now
        self.tokens += len(logprobs)
        self.logprobs += logprobs[: self.most_tokens - len(self.logprobs)]

    def told(self) -> dict[str, Any]:
        """Return what a trace keeps of it."""
        if self.outcome is None:
            return {}
        known = self.uncertainty
        return {
            "logprob": [round(one, 4) for one in self.logprobs],
            "uncertainty": None if known is None else round(known, 4),
            "held_s": round(self.held_s, 4),
            "draft_tokens": self.tokens if self.has_moved else 0,
            "outcome": self.outcome.value,
        }
