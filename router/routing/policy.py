"""The fleet's routing table, and what a decision asks for: scores of the request at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from router.routing.aliases import AUTO, Aliases
from router.routing.levels import LevelView
from router.routing.window_room import least_room
from router.types import Lane, Reason, RequestFacts, Task, TierRules, record


@dataclass(frozen=True, slots=True)
class StrongerLane:
    """A lane and the reason that a request goes there for its score."""

    lane: str
    reason: Reason


@record
class Judgement:
    """Scores of the last user turns, newest last, and the tenant's levels by lane.

    `draws`: of each turn, uniform in [0, 1); none where nothing is explored.
    """

    scores: Sequence[float]
    views: Mapping[str, LevelView]
    draws: Sequence[float] = ()


class Judge(Protocol):
    """Scores the request; called at most once."""

    def __call__(self, *, is_planning: bool = False) -> Judgement:
        """Return scores, with the planning lane's level in place of the stronger lanes'."""


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """The fleet's routing table.

    Attributes:
        lanes: by name, in the order the fleet file gives them.
        stronger: for complex queries, strongest first.
        long_context: lane for prompts past the default window.
        planning: lane for hard turns of agents, from their first request on.
        sub_agents: lane for what sub-agents send.
        background: lane for other requests that nobody waits for.
        languages: lane by the ISO 639-1 code of the conversation's language.
        by_model: model id to the name of the first lane that serves it.
        aliases: other names, which are looked up after the lanes and their model ids.
        vision: lane for requests with images that would go to one which sees none.
        pooling: lane by the task, for those that do not generate.
        epsilon: chance of a request near a threshold to go the other way; at most one over the
            number of stronger lanes.
        cascade: the stronger lane to which a request may move that has begun elsewhere.

    """

    lanes: Mapping[str, Lane]
    default: str
    stronger: tuple[StrongerLane, ...] = ()
    long_context: str | None = None
    tools: str | None = None
    planning: str | None = None
    sub_agents: str | None = None
    background: str | None = None
    languages: Mapping[str, str] = field(default_factory=dict)
    by_model: Mapping[str, str] = field(default_factory=dict)
    aliases: Aliases = field(default_factory=Aliases)
    vision: str | None = None
    pooling: Mapping[Task, str] = field(default_factory=dict)
    epsilon: float = 0.0
    cascade: str | None = None

    @property
    def has_blind_lanes(self) -> bool:
        """Whether it matters if a request has images."""
        return not all(lane.sees for lane in self.lanes.values() if lane.generates)

    def find(self, model: str) -> Lane | None:
        """Return the lane that a name pins: its own, its model id, or an alias of it."""
        return self._own(model) or self.lanes.get(self.aliases.find(model) or "")

    def is_auto(self, model: str) -> bool:
        """Return whether a name leaves the choice to the router: `auto`, or an alias of it."""
        return model == AUTO or (self._own(model) is None and self.aliases.find(model) == AUTO)

    def leaves_choice(self, model: str | None) -> bool:
        """Return whether a request that asks for this, or for nothing, leaves it the choice."""
        return model is None or self.is_auto(model)

    def _own(self, model: str) -> Lane | None:
        return self.lanes.get(model) or self.lanes.get(self.by_model.get(model, ""))

    def open_lane(self, name: str | None, tier: TierRules, facts: RequestFacts) -> Lane | None:
        """Return a role's lane if it can take the request.

        The tenant may use it, the prompt fits its window, and it calls tools where the request
        offers some. None also where no lane has the role.
        """
        if name is None or not tier.allows(name):
            return None
        lane = self.lanes[name]
        is_able = lane.calls_tools or not facts.has_tools
        return lane if is_able and fits(facts, lane) else None


def fits(facts: RequestFacts, lane: Lane) -> bool:
    """Return whether a lane sees what is in the prompt and its window holds it.

    There has to be some room for an answer, too.
    """
    if facts.has_images and not lane.sees:
        return False
    room = least_room(facts.output_tokens, lane.window_tokens)
    return facts.prompt_tokens + room <= lane.window_tokens
