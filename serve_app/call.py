"""One generation request while it runs: what every step of the pipeline reads."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from router.ceiling import Pacer, Reservation, TenantCeiling
from router.session import Affinity
from router.types import LaneDecision
from serve_app.auth import Tenant
from serve_app.lanes import Replica
from serve_app.state import Policies
from serve_app.streaming import Usage
from serve_app.wire import Parsed, Route


@dataclass(slots=True)
class Call:
    """Everything known about one request while it runs."""

    route: Route
    headers: dict[bytes, bytes]
    request_id: str
    tenant: Tenant
    policies: Policies
    started: float
    wants_debug: bool = False
    parsed: Parsed | None = None
    decision: LaneDecision | None = None
    ceiling: TenantCeiling | None = None
    reservation: Reservation | None = None
    session_id: str = ""
    affinity: Affinity | None = None
    replica: Replica | None = None
    usage: Usage | None = None
    delivered_tokens: int = 0
    code: str = "200"
    has_started: bool = False
    paced_s: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def lane(self) -> str:
        """The chosen lane, or `none` before there is one."""
        return self.decision.lane.name if self.decision else "none"

    @property
    def pacer(self) -> Pacer | None:
        """The tenant's tokens-per-second ceiling, if it has one."""
        return self.ceiling.pacer if self.ceiling is not None else None


def request_id(headers: dict[bytes, bytes]) -> str:
    """The caller's request id if it is usable, else a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    return given if 0 < len(given) <= 128 and given.isprintable() else uuid.uuid4().hex
