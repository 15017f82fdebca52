"""One generation request while it runs: what every step of the pipeline reads."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf
from typing import TYPE_CHECKING

from router.affinity import Visit
from router.ceiling import TenantCeiling
from router.contention import Contention
from router.guests import guest_key
from router.pacer import ContendedPacer, Paces
from router.reservation import Reckoning, Reservation, further_charge
from router.session import Affinity, session_key
from router.types import LaneDecision
from serve_app.answer_limit import unlimited_tokens
from serve_app.auth import Tenant
from serve_app.history import Trimmed
from serve_app.lanes import Replica
from serve_app.policies import Policies
from serve_app.streaming import Usage
from serve_app.visit import visit_of
from serve_app.wire import Parsed, Route

if TYPE_CHECKING:
    from serve_app.admission import Place
    from serve_app.keepalive import Keepalive
    from serve_app.pump import Flow


def _nothing() -> None:
    """Of a chat on a socket, whose frame is here."""


@dataclass(slots=True)
class Call:
    """Everything known about one request while it runs.

    Attributes:
        arrived: gives back what the request holds while its body arrives and is read; harmless
            when it has been.
        prompt_tokens: estimated, in the chosen lane's tokenizer.
        answer_limit: tokens of each answer at most, as its engine is told; None: not told.
        room: tokens that the window leaves for each answer, by the prompt's estimate.
        cost: what it is reckoned at, once it asks to be admitted.
        live_tokens: passed on so far, while a stream is under way.
        usage_number: the meter's for it, from admission on.
        has_head: the response's status line was sent. A stream that waits for long has
            one before there is anything to say.
        has_started: something of the answer was passed on, or a refusal told.
        flow: what is passed on, from the lane's queue on.
        keepalive: what a waiting stream's client hears.

    """

    route: Route
    headers: dict[bytes, bytes] = field(repr=False)
    request_id: str
    tenant: Tenant
    policies: Policies
    started: float
    wants_debug: bool = False
    arrived: Callable[[], None] = _nothing
    parsed: Parsed | None = None
    history: Trimmed | None = None
    decision: LaneDecision | None = None
    prompt_tokens: int = 0
    answer_limit: int | None = None
    room: int = 0
    cost: Reckoning | None = None
    ceiling: TenantCeiling | None = None
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
    has_head: bool = False
    has_started: bool = False
    flow: Flow | None = None
    keepalive: Keepalive | None = None
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
        """Of all answers asked for together: what they may be, without a limit a guess."""
        assert self.parsed is not None
        limit = self.answer_limit
        if limit is None:
            limit = unlimited_tokens(self.parsed, self.policies.default_output_tokens, self.room)
        return min(limit, self.room) * self.parsed.copies

    def reckon(self) -> Reckoning:
        """What it may cost, by its tenant's weights."""
        assert self.parsed is not None
        weigh, prompt = self.tenant.weights.weigh, self.prompt_tokens
        usual = self.policies.default_output_tokens * self.parsed.copies
        return Reckoning(
            ceil(weigh(prompt, 0, 0)),
            ceil(weigh(prompt, 0, min(usual, self.answer_tokens))),
            ceil(weigh(prompt, 0, self._most_tokens)),
        )

    @property
    def _most_tokens(self) -> int:
        """Of all answers together: what is charged is never less than what may come.

        A stream without a limit is charged as it grows; a whole answer is there at once.
        """
        assert self.parsed is not None
        if self.answer_limit is None and not self.parsed.stream:
            return self.room * self.parsed.copies
        return self.answer_tokens

    @property
    def covered_tokens(self) -> float:
        """Tokens that may be delivered before more has to be charged (`cover`)."""
        weight, ceiling = self.tenant.weights.completion, self.ceiling
        if self.reservation is None or ceiling is None or self.cost is None or not weight:
            return inf
        if ceiling.config.tokens_per_minute is None:
            return inf
        return (self.reservation.tokens - self.cost.prompt) / weight

    def cover(self, tokens: int, *, now: float) -> float:
        """Charge what a stream has outgrown, `tokens` in all; returns how far that goes."""
        assert self.ceiling is not None and self.reservation is not None and self.cost is not None
        used = self.cost.prompt + ceil(tokens * self.tenant.weights.completion)
        # Where the engine was told no limit, what it was reckoned at is a guess.
        whole = inf if self.answer_limit is None else self.cost.whole
        more = further_charge(self.reservation.tokens, used, whole)
        self.reservation = self.ceiling.grow(self.reservation, more, now=now)
        return self.covered_tokens

    @property
    def session_key(self) -> str:
        """The session's name across tenants."""
        return session_key(self.tenant.name, self.session_id)

    @property
    def visit(self) -> Visit:
        """The call as the choice of a replica sees it."""
        assert self.parsed is not None
        return visit_of(self.parsed, guest_key(self.tenant.cache_group), self.session_key)

    def hush(self) -> None:
        """The last of the response is about to be sent: no comment may follow it."""
        if self.keepalive is not None:
            self.keepalive.stop()

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
