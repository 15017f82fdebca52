"""The records that cross the boundary between decisions and the serving code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar, dataclass_transform

C = TypeVar("C")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[C]) -> type[C]:
    """Make a frozen dataclass of what each request makes several of: mypy is who keeps it frozen.

    At run time nothing does: `frozen=True` sets each field by `object.__setattr__`, which is six
    times as long, and of a decision's records would be a tenth of its time.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


class Task(StrEnum):
    """What an engine does with a request. The values are those of a lane's key `task`."""

    GENERATE = "generate"
    EMBED = "embed"
    """Makes vectors of texts."""
    SCORE = "score"
    """Compares texts in pairs: scores, and rankings by them."""


class Reason(StrEnum):
    """Why a lane was chosen. A closed set: the values are metric labels."""

    DEFAULT = "default"
    COMPLEX = "complex"
    FRONTIER = "frontier"
    STICKY = "sticky"
    PINNED = "pinned"
    LONG_CONTEXT = "long_context"
    TOOLS = "tools"
    PLANNING = "planning"
    LANGUAGE = "language"
    SUB_AGENT = "sub_agent"
    BACKGROUND = "background"
    VISION = "vision"
    TIER = "tier"
    EXPERIMENT = "experiment"
    YIELDED = "yielded"
    EXPLORED = "explored"
    CASCADE = "cascade"
    """The weaker lane began, was unsure of its first tokens, and a stronger one answers."""
    VALIDATION_FAILED = "validation_failed"


@dataclass(frozen=True, slots=True)
class Lane:
    """One model and its pool of replicas, as far as routing needs to know it.

    Attributes:
        calls_tools: its engine reads tool calls out of what the model says.
        sees: its model reads images, as far as is known.
        tasks: what its engine does.

    """

    name: str
    model_id: str
    window_tokens: int
    calls_tools: bool = True
    sees: bool = True
    tasks: frozenset[Task] = frozenset({Task.GENERATE})

    @property
    def generates(self) -> bool:
        return Task.GENERATE in self.tasks


@dataclass(frozen=True, slots=True)
class TierRules:
    """What a tenant may use.

    Attributes:
        lanes: lanes that are open; empty means every lane.
        default_lane: where its requests go that nothing else moves.
        budgets: share of its scored requests that may be escalated, by lane; a lane
            that is not named has the lane's own target share.
        planning_budget: share of its agents' turns that may begin on the planning lane;
            None: that lane's target share.

    """

    lanes: frozenset[str] = frozenset()
    default_lane: str | None = None
    budgets: Mapping[str, float] = field(default_factory=dict)
    planning_budget: float | None = None

    def allows(self, lane: str) -> bool:
        return not self.lanes or lane in self.lanes

    def may_escalate(self, lane: str) -> bool:
        return self.allows(lane) and self.budgets.get(lane, 1.0) > 0.0

    def may_plan(self, lane: str) -> bool:
        return self.allows(lane) and self.planning_budget != 0.0


@dataclass(frozen=True, slots=True)
class HeldLane:
    """The lane of a turn that is under way, and the reason of its further steps."""

    lane: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Arm:
    """A session's arm of an experiment, which is about requests for the lane `control`.

    Attributes:
        lane: where the arm's requests go: `control` or `treatment`.
        name: `control` or `treatment`; None: it does not count, as others before it may still
            have an effect (the washout of a switchback), or the arm was stopped.
        propensity: probability with which the session was given this lane.

    """

    experiment: str
    name: str | None
    lane: str
    control: str
    treatment: str
    propensity: float = 1.0


@record
class RequestFacts:
    """What the lane decision reads of one request.

    `prompt_tokens` is an estimate (`router.tokens`); `output_tokens` is the most that is
    wished of one answer, or a guess.

    Attributes:
        is_step: it brings the results of tools that an earlier answer of its turn called.
        held: where that turn runs, if this is known.
        is_background: nobody waits for it, so it is not worth a stronger lane.
        is_sub_agent: it is a background request because a sub-agent sends it.
        language: ISO 639-1 code of the conversation's language, where that is looked for and clear.
        has_images: some part of it is an image or a video.
        arms: of the experiments that its session is in; no two have a lane in common.
        moved: the stronger lane to which one of its last turns was moved
            (`router.routing.cascade`).

    """

    pinned: str | None
    has_tools: bool
    prompt_tokens: int
    output_tokens: int
    is_step: bool = False
    held: HeldLane | None = None
    is_background: bool = False
    is_sub_agent: bool = False
    language: str | None = None
    task: Task = Task.GENERATE
    has_images: bool = False
    arms: tuple[Arm, ...] = ()
    moved: str | None = None


@record
class LaneDecision:
    """The lane a request goes to, and what led there.

    Attributes:
        score, threshold: None where the request was not scored.
        is_planning: it was scored as the first request of an agent's turn: its share and
            budget are those of the planning lane.
        is_adopted: it is a step of a turn that began elsewhere and went up there; see
            `router.routing.budget`.
        propensity: probability of this lane, given all that is known of the request; see
            `router.routing.exploration`, and in an experiment its arm's.
        experiment, arm: names, where it is in an experiment; `arm` is None where it does not
            count.
        instead_of: the decision without the experiment, where that moved it.
        above: the stronger lane to which the request may still move, once its own lane has begun
            to answer (`router.routing.cascade`); None: it stays.

    """

    lane: Lane
    reason: Reason
    score: float | None = None
    threshold: float | None = None
    is_planning: bool = False
    is_adopted: bool = False
    propensity: float = 1.0
    experiment: str | None = None
    arm: str | None = None
    instead_of: LaneDecision | None = None
    above: Lane | None = None

    @property
    def routed(self) -> LaneDecision:
        """What the routing rules decided: shares, budgets and turns go by that."""
        return self.instead_of or self
