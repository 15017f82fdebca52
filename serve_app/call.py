"""One generation request while it runs: what every step of the pipeline reads."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from router.affinity import Visit
from router.ceiling import Reservation, TenantCeiling
from router.contention import Contention
from router.guests import guest_key
from router.leased_ceiling import LeasedCeiling
from router.pacer import ContendedPacer, Paces
from router.session import Affinity, session_key
from router.types import LaneDecision
from serve_app.auth import Tenant
from serve_app.history import Trimmed
from serve_app.lanes import Replica
from serve_app.policies import Policies
from serve_app.streaming import Usage
from serve_app.wire import Parsed, Route

if TYPE_CHECKING:
    from serve_app.admission import Place

# English text, roughly, in any of the fleet's tokenizers.
BYTES_PER_TOKEN = 4


@dataclass(slots=True)
class Call:
    """Everything known about one request while it runs.

    Attributes:
        live_tokens: passed on so far, while a stream is under way.
        usage_number: the meter's for it, from admission on.

    """

    route: Route
    headers: dict[bytes, bytes]
    request_id: str
    tenant: Tenant
    policies: Policies
    started: float
    wants_debug: bool = False
    parsed: Parsed | None = None
    history: Trimmed | None = None
    decision: LaneDecision | None = None
    ceiling: TenantCeiling | LeasedCeiling | None = None
    contention: Contention | None = None
    reservation: Reservation | None = None
    session_id: str = ""
    affinity: Affinity | None = None
    replica: Replica | None = None
    place: Place | None = None
    usage: Usage | None = None
    delivered_tokens: int = 0
    live_tokens: Callable[[], int] | None = None
    usage_number: int | None = None
    code: str = "200"
    has_started: bool = False
    paced_s: float = 0.0
    ttft_s: float | None = None
    shadow_score: float | None = None
    shadow_version: str | None = None
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def lane(self) -> str:
        """The chosen lane, or `none` before there is one."""
        return self.decision.lane.name if self.decision else "none"

    @property
    def answer_tokens(self) -> int:
        """Of all answers asked for together: what was given as a limit, else a guess."""
        assert self.parsed is not None
        each = self.parsed.output_tokens
        if each is None:
            each = self.policies.default_output_tokens
        return each * self.parsed.copies

    @property
    def session_key(self) -> str:
        """The session's name across tenants."""
        return session_key(self.tenant.name, self.session_id)

    @property
    def visit(self) -> Visit:
        """The call as the choice of a replica sees it.

        History is what stands between the system prompt and the newest user message. Its
        tokens are reckoned from bytes: the comparison they enter needs no better figure.
        """
        assert self.parsed is not None
        prompt = self.parsed.prompt
        newest = len(prompt.users[-1]) if prompt.users else 0
        history = prompt.bytes - len(prompt.system) - newest if len(prompt.users) > 1 else 0
        return Visit(
            group=guest_key(self.tenant.cache_group),
            session=self.session_key,
            history_tokens=max(0, history) // BYTES_PER_TOKEN,
            system_tokens=len(prompt.system) // BYTES_PER_TOKEN,
        )

    @property
    def pacer(self) -> Paces | None:
        """The tenant's tokens-per-second ceiling, if it has one."""
        pacer = self.ceiling.pacer if self.ceiling is not None else None
        if pacer is None or self.contention is None:
            return pacer
        return ContendedPacer(pacer, self.contention)


MAX_REQUEST_ID_CHARS = 256


def request_id(headers: dict[bytes, bytes]) -> str:
    """The caller's request id if it is usable, else a new one."""
    given = headers.get(b"x-request-id", b"").decode("latin-1").strip()
    is_usable = 0 < len(given) <= MAX_REQUEST_ID_CHARS and given.isascii() and given.isprintable()
    return given if is_usable else uuid.uuid4().hex
