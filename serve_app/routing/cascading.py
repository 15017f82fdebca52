"""The second stage of the complex lane's level, in one ingress replica.

`router.routing.cascade` decides; this module has what it decides by.
"""

from __future__ import annotations

import time
from typing import Any

from router.routing.cascade import Cascade, CascadeConfig
from router.routing.levels import LevelView
from router.routing.moved import MovedConversations
from router.types import LaneDecision, Reason
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.routing.policies import Policies


class Cascading:
    """Who is held and who moves, and the conversations that were moved."""

    def __init__(self, lane: str, share: float, config: CascadeConfig, sticky_turns: int) -> None:
        self.lane = lane
        self._cascade = Cascade(config, share)
        self._config, self._share, self._sticky_turns = config, share, sticky_turns
        self._moved = MovedConversations()

    def holds(self, score: float, standing: tuple[LevelView, float] | None) -> bool:
        """Whether a request with this score begins below and is held."""
        if standing is None:
            return False
        view, least_score = standing
        return self._cascade.holds(score, least_score, view)

    def is_unsure(self, unsure: float) -> bool:
        return self._cascade.is_unsure(unsure)

    def moves(self, unsure: float, standing: tuple[LevelView, float] | None) -> bool:
        return standing is not None and self._cascade.moves(unsure, standing[0])

    def note(self, decision: LaneDecision, *, held: bool) -> None:
        """Count a scored request, after its last decision."""
        self._cascade.note(moved=decision.reason is Reason.CASCADE, held=held)

    def note_moved(self, session: str, parsed: ParsedRequest) -> None:
        """Have the next turns of a conversation go where this one was moved to."""
        self._moved.note(session, self.lane, _turn(parsed), time.monotonic())

    def forget_moved(self, session: str) -> None:
        self._moved.forget(session)

    def moved(self, session: str, parsed: ParsedRequest) -> str | None:
        """Return the lane to which one of the conversation's last turns was moved."""
        turns = self._sticky_turns
        return self._moved.find(session, _turn(parsed), turns, time.monotonic())

    def status(self) -> dict[str, Any]:
        """Shares are of the last 1,000 scored requests of this ingress replica, roughly."""
        return {
            "lane": self.lane,
            "uncertainty": self._config.threshold,
            "target_share": self._config.part * self._share,
            "moved_share": self._cascade.moved,
            "held_share": self._cascade.held,
        }


def cascading_of(policies: Policies) -> Cascading | None:
    """Return the second stage that a fleet file asks for."""
    config = policies.fleet.routing.cascade
    if config is None or not policies.levels:
        return None
    level = policies.levels[-1]
    terms = CascadeConfig(config.part, config.uncertainty)
    return Cascading(level.lane, level.share, terms, policies.sticky_turns)


def _turn(parsed: ParsedRequest) -> int:
    return len(parsed.prompt.users)
