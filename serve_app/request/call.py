"""One generation request while it runs: what every step of the pipeline reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from router.agents.background import Background
from router.errors import Rejected
from router.placement.session import Affinity, session_key
from router.types import LaneDecision
from serve_app.admission.lane_slots import SlotHold
from serve_app.agents.guard import Guarded
from serve_app.bodies.parsed_request import ParsedRequest
from serve_app.bodies.routes import Route
from serve_app.placement.lanes import Replica
from serve_app.protocol.sse import Usage
from serve_app.protocol.trace_context import TRACE_HEADERS, TraceContext
from serve_app.request.charge import Charge
from serve_app.request.hold import Hold
from serve_app.request.keeping import Keeping
from serve_app.request.plan import Plan
from serve_app.request.reply import Reply, nothing
from serve_app.request.shown import Shown
from serve_app.request.stages import Stages
from serve_app.routing.history import Trimmed
from serve_app.routing.policies import Policies
from serve_app.routing.scores import Doubt
from serve_app.swap.gates import Pass
from serve_app.tenancy.auth import Tenant


class Outcome(StrEnum):
    """How a request ended; the value is its code in metrics and records."""

    ANSWERED = "200"
    LEFT = "499"
    """The client did not wait for the answer."""
    FAILED = "500"
    BROKEN = "broken"
    """A stream that ended with an error event."""
    REFUSED = "refused"
    """Its code is the refusal's reason."""


@dataclass(slots=True)
class Served:
    """What was done for a request at an engine.

    Attributes:
        hold: its slots of the lane; None: it asked for none.
        passed: that its lane, which shares cards, was awake; None: it was not asked yet, or
            has cards of its own.
        replica: the last that it was sent to.
        usage: the engine's count, once it was told.
        mending: what it took to have invalid tool calls made again.
        delivered_tokens: passed on, of a stream that has ended.
        live_tokens: passed on so far, while a stream is under way.
        paced_s: how long tokens waited under the tenant's ceiling; `ttft_paced_s`: before the
            client had the first.
        ttft_s: when it had that; `first_tokens_s`: when an engine had given `FIRST_TOKENS`
            of `router.slo.judging`, if it did. Of streams alone, seconds since the arrival.

    """

    hold: SlotHold | None = None
    passed: Pass | None = None
    replica: Replica | None = None
    affinity: Affinity | None = None
    usage: Usage | None = None
    mending: Usage | None = None
    delivered_tokens: int = 0
    live_tokens: Callable[[], int] | None = None
    paced_s: float = 0.0
    ttft_s: float | None = None
    ttft_paced_s: float = 0.0
    first_tokens_s: float | None = None

    @property
    def counted(self) -> Usage | None:
        """What the engines counted in all."""
        return self.with_mending(self.usage)

    def with_mending(self, usage: Usage | None) -> Usage | None:
        """Return a count of the answer with what mending took."""
        if usage is None or self.mending is None:
            return usage or self.mending
        return usage + self.mending

    def leave(self) -> None:
        """Give the lane's slots back. Idempotent."""
        if self.hold is not None:
            self.hold.leave(self.usage.completion_tokens if self.usage else 0)
        if self.passed is not None:
            self.passed.leave()


@dataclass(slots=True)
class Call:
    """One request, from its header to its end.

    What a step finds is handed on as a value (`Plan`), so that the next step's signature
    says that it has run. What is kept here is told however the request ends.

    Attributes:
        arrived: gives back what the request holds while its body arrives and is read; harmless
            when it has been.
        keeping: what is stored of it, and what it continues; None: nothing.
        parsed: as far as it was read, without what the history budget leaves out.
        guarded: what the bounds on tasks made of it.
        background: why nobody waits for it, if so.
        language: its conversation's, where that was looked for and is clear.
        task_id: what the client calls the agent's task that it belongs to; empty: nothing.
        turn_key: session and a digest of the newest user turn; None: it has no steps to come.
        doubts: turns whose score another classifier is asked for; its answer may change the lane.
        shadow: version and score of the classifier that is tried beside the active one.
        stages: seconds by stage.
        trace: the call's own span; None: nobody keeps one, or its client says that none is kept.
        shown: what its client was given; None: its tenant does not let it be kept.
        hold: while its lane begins, where it may move to a stronger one; None: it stays.

    """

    route: Route
    headers: dict[bytes, bytes] = field(repr=False)
    request_id: str
    tenant: Tenant
    policies: Policies
    started: float
    wants_debug: bool = False
    arrived: Callable[[], None] = nothing
    session_id: str = ""
    keeping: Keeping | None = None
    parsed: ParsedRequest | None = None
    guarded: Guarded | None = None
    background: Background | None = None
    language: str | None = None
    task_id: str = ""
    turn_key: tuple[str, bytes] | None = None
    history: Trimmed | None = None
    decision: LaneDecision | None = None
    doubts: list[Doubt] = field(default_factory=list)
    plan: Plan | None = None
    charge: Charge = field(default_factory=Charge)
    served: Served = field(default_factory=Served)
    reply: Reply = field(default_factory=Reply)
    shadow: tuple[str, float] | None = None
    outcome: Outcome = Outcome.ANSWERED
    refused: Rejected | None = None
    stages: Stages = field(init=False)
    trace: TraceContext | None = None
    shown: Shown | None = None
    hold: Hold | None = None

    def __post_init__(self) -> None:
        self.stages = Stages(self.started)

    @property
    def lane(self) -> str:
        """The chosen lane, or `none` before there is one."""
        return self.decision.lane.name if self.decision else "none"

    @property
    def code(self) -> str:
        """What the request is counted under in metrics and records."""
        if self.outcome is Outcome.REFUSED and self.refused is not None:
            return self.refused.reason.value
        return self.outcome.value

    @property
    def session_key(self) -> str:
        """The session's name across tenants."""
        return session_key(self.tenant.name, self.session_id)

    @property
    def user(self) -> str:
        """Whose request it is within its tenant: all calls of one task are one user's."""
        # No session id has such a character.
        return f"task\0{self.task_id}" if self.task_id else self.session_id

    @property
    def task_key(self) -> str:
        """The task's name across tenants; without one, the session's."""
        return session_key(self.tenant.name, self.user)

    @property
    def trace_headers(self) -> dict[str, str]:
        """What tells an engine whose work its own is: the call's span, else its client's."""
        if self.trace is not None:
            return self.trace.headers
        headers = self.headers
        given = [name for name in TRACE_HEADERS if name in headers]
        return {name.decode(): headers[name].decode("latin-1") for name in given} if given else {}

    def refuse(self, refused: Rejected) -> None:
        self.outcome, self.refused = Outcome.REFUSED, refused


MAX_REQUEST_ID_CHARS = 256


def request_id(headers: dict[bytes, bytes]) -> str:
    """Return the caller's request id if it is usable, else a new one."""
    line = headers.get(b"x-request-id")
    if line is not None:
        given = line.decode("latin-1").strip()
        if 0 < len(given) <= MAX_REQUEST_ID_CHARS and given.isascii() and given.isprintable():
            return given
    return os.urandom(16).hex()
