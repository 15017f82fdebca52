"""`routing:` of the fleet file: which lane gets what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from router.routing.cascade import MAX_PART
from serve_app.config.errors import StrictModel

MAX_FALLBACKS = 4
"""Lanes that are asked for a tool call, one after the other, while the client waits."""

Code = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]

_NO_SCORES = (
    "no request goes to another lane for its score: name a lane as {} that has a share over 0, "
    "or leave this out"
)

_PASSED_BY = "requests with tools pass it by"


class ExplorationConfig(StrictModel):
    """Requests near a threshold that chance sends the other way (docs/classifier.md).

    Attributes:
        epsilon: chance of such a request.
        width: how near, as a share of the scored requests on either side of the threshold.

    """

    epsilon: float = Field(0.02, gt=0, le=0.25)
    width: float = Field(0.1, gt=0, le=0.5)


class CascadeConfig(StrictModel):
    """Requests under the complex lane's threshold that move there if the weaker lane is unsure.

    Of chat completions alone (docs/evals.md). Who is in the band is held while its lane begins.

    Attributes:
        uncertainty: minus the mean log-probability of the held tokens, in nats, from which a
            request moves. Of one's own lane: `pointsman classifier cascade` says which.
        hold_tokens: a stream is held for so many of its first tokens at most.
        hold_s: and for so long after the first of them.
        whole_s: an answer that is no stream is judged when it is there, and stays if that took
            longer than this; 0: none is judged.
        band: share of the scored requests, from the highest score down, that are held where they
            do not go up at once.
        part: of `escalation_share` that moves may take.

    """

    uncertainty: float = Field(gt=0, le=30)
    hold_tokens: int = Field(4, ge=1, le=16)
    hold_s: float = Field(0.5, gt=0, le=5)
    whole_s: float = Field(2, ge=0, le=60)
    band: float = Field(0.3, gt=0, le=1)
    part: float = Field(0.5, gt=0, le=MAX_PART)


class ClassifierServiceConfig(StrictModel):
    """A contextual classifier, which is asked where its score may change the lane.

    Attributes:
        artifact: directory of an artefact of kind `sentence-transformers`.
        deadline_s: how long a request waits for its score; then its own one decides.
        replicas: of the deployment; `num_cpus`: of each.

    """

    artifact: str
    deadline_s: float = Field(0.1, gt=0, le=1)
    replicas: int = Field(1, ge=1, le=64)
    num_cpus: float = Field(1.0, gt=0)


class RoutingConfig(StrictModel):
    """Which lane gets what.

    Lanes of `planning`, `sub_agents`, `background`, `languages`, `tool_fallback`, `vision`,
    `embeddings` and `rerank` may be off:
    the role waits until they are on. What a role's lane cannot take (its window, tools, the
    tenant's lanes) goes where it would go without the role.

    Attributes:
        complex: lane for complex queries; `frontier`: for the most complex of them.
        planning: lane for hard turns of agents: the first request of a turn carries tools and
            scores high. Its further steps stay there.
        planning_share: share of agents' turns meant for it.
        sub_agents: lane for what sub-agents send; `background`: for other requests that nobody
            waits for (titles, short checks, `x-pointsman-background: 1`).
        vision: lane for images, where the lane that a request would go to reads none. Default:
            the first that `sees`.
        embeddings: lane for `/v1/embeddings`; `rerank`: for `/v1/rerank` and `/v1/score`.
            Default: the first whose task it is.
        languages: by lane, the ISO 639-1 codes of conversations that go there instead of to
            the default lane or the one for tools.
        language_scope: `sub_agents`: only of their requests is the language looked for.
        tool_fallback: lanes that are asked, in this order, for a tool call which the request's
            own lane could not make: each that the tenant may use and that has a slot, until
            one makes it. A bare name is a list of one; default: the complex lane.
        escalation_share: share of scored requests meant for the complex lane.
        frontier_share: share meant for the frontier lane.
        escalation_alarm: share of a lane from which a trigger fires.
        escalation_threshold: overrides the threshold that follows the traffic, for
            the complex lane (without one, for the frontier lane).
        escalation_ttft_s: objective of the stronger lanes; over it they yield.
        sticky_turns: user turns for which a conversation stays escalated.
        classifier: directory of an artefact; default: the one that is shipped.
        shadow_classifier: directory of a candidate that scores beside it, without
            effect; both scores are in the request log.
        classifier_service: a second classifier of another kind, in a deployment of its own,
            which is asked of scores near a threshold; default: there is none.
        exploration: what the log can tell of other thresholds; default: nothing is explored.
        cascade: a second look at what the score left below; default: there is none.

    """

    default: str
    complex: str | None = None
    frontier: str | None = None
    long_context: str | None = None
    tools: str | None = None
    planning: str | None = None
    planning_share: float = Field(0.05, ge=0, lt=0.5)
    sub_agents: str | None = None
    background: str | None = None
    vision: str | None = None
    embeddings: str | None = None
    rerank: str | None = None
    languages: dict[str, list[Code]] = Field(default_factory=dict)
    language_scope: Literal["all", "sub_agents"] = "all"
    tool_fallback: list[str] | None = Field(None, max_length=MAX_FALLBACKS)
    escalation_share: float = Field(0.03, ge=0, lt=0.5)
    frontier_share: float = Field(0.01, ge=0, lt=0.5)
    escalation_alarm: float = Field(0.05, gt=0, le=1)
    escalation_threshold: float | None = None
    escalation_ttft_s: float | None = Field(None, gt=0)
    sticky_turns: int = Field(3, ge=1, le=32)
    default_output_tokens: int = Field(256, ge=1)
    classifier: str | None = None
    shadow_classifier: str | None = None
    classifier_service: ClassifierServiceConfig | None = None
    exploration: ExplorationConfig | None = None
    cascade: CascadeConfig | None = None

    @field_validator("tool_fallback", mode="before")
    @classmethod
    def _may_be_a_name(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _a_language_has_one_lane(self) -> Self:
        lanes: dict[str, str] = {}
        for lane, codes in self.languages.items():
            for code in codes:
                if code in lanes:
                    raise ValueError(f"languages: '{code}' is of {lanes[code]} and of {lane}")
                lanes[code] = lane
        return self

    @model_validator(mode="after")
    def _scores_decide_something(self) -> Self:
        """What asks for better scores, or tries others, needs a lane that they lead to."""
        plans = self.planning is not None and self.planning_share > 0
        if self.classifier_service is not None and not self.scored_lanes and not plans:
            raise ValueError(
                f"classifier_service: {_NO_SCORES.format('complex, frontier or planning')}"
            )
        if self.exploration is not None and not self.scored_lanes:
            raise ValueError(f"exploration: {_NO_SCORES.format('complex or frontier')}")
        return self

    @property
    def needed_lanes(self) -> Iterator[tuple[str, str]]:
        """Roles whose lanes have to be on, each with its lane."""
        for role in ("default", "complex", "frontier", "long_context", "tools"):
            name = getattr(self, role)
            if name is not None:
                yield role, name

    @property
    def optional_lanes(self) -> Iterator[tuple[str, str]]:
        """Roles whose lanes may be off, each with its lane."""
        for role in ("planning", "sub_agents", "background"):
            name = getattr(self, role)
            if name is not None:
                yield role, name
        yield from self.able_lanes
        for name in self.languages:
            yield "languages", name
        for name in self.tool_fallback or ():
            yield "tool_fallback", name

    @property
    def scored_lanes(self) -> list[str]:
        """Lanes that a request goes to for its score."""
        shares = ((self.complex, self.escalation_share), (self.frontier, self.frontier_share))
        return [name for name, share in shares if name is not None and share > 0]

    @property
    def chosen_lanes(self) -> set[str]:
        """Lanes that requests go to whose callers named none."""
        named = (self.default, self.long_context, self.tools, self.sub_agents, self.background)
        planning = self.planning if self.planning_share > 0 else None
        found = (*named, self.vision, planning, *self.scored_lanes, *self.languages)
        return {name for name in found if name is not None}

    @property
    def able_lanes(self) -> Iterator[tuple[str, str]]:
        """Roles that only some lanes can have, each with its lane."""
        for role in ("vision", "embeddings", "rerank"):
            name = getattr(self, role)
            if name is not None:
                yield role, name

    @property
    def lanes_with_tools(self) -> Iterator[tuple[str, str, str]]:
        """Roles that are for requests with tools: the lane, and what follows if it calls none."""
        if self.tools is not None:
            yield "tools", self.tools, "its answers have no tool calls"
        if self.planning is not None:
            yield "planning", self.planning, "no request goes there"
        if self.sub_agents is not None:
            yield "sub_agents", self.sub_agents, _PASSED_BY
        for name in self.languages:
            yield "languages", name, _PASSED_BY
