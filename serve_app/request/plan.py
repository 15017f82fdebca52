"""What was decided about a request before anything was spent on it."""

from __future__ import annotations

from dataclasses import dataclass

from router.limits.reservation import Reckoning
from router.types import LaneDecision
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.routing.history import Trimmed
from serve_app.summaries.shaping import Shape


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that is known and has a lane. Tokens are estimates, in the lane's tokenizer.

    Attributes:
        parsed: as the engine gets it.
        history: what was left out of it, if anything was.
        lane: the name of the decision's, which is asked for many times a request.
        prompt_tokens: of all its prompts together.
        longest_tokens: of its longest prompt, which has the window for itself.
        answer_limit: of each answer at most, as its engine is told; None: not told.
        answer_tokens: of all answers together, what they may be; without a limit a guess.
        cost: what the request is reckoned at, by its tenant's weights.
        shape: how `parsed` came about; None: as its client sent it.

    """

    parsed: ParsedRequest
    history: Trimmed | None
    decision: LaneDecision
    lane: str
    prompt_tokens: int
    longest_tokens: int
    answer_limit: int | None
    answer_tokens: int
    cost: Reckoning
    shape: Shape | None = None

    @property
    def is_open(self) -> bool:
        """Whether summaries are missing that may still be made."""
        return self.shape is not None and self.shape.is_open
