"""Ceilings of one tenant, in one ingress replica.

- **Tokens per minute** are prompt and completion tokens, in a bucket (`bucket`). A request
  reserves an estimate when it is admitted. It settles to the engine's count when it ends,
  whichever way it ends. No request reserves more than half of the bucket for an answer that
  it may never give. One that outgrows what it reserved is charged more while it runs
  (`grow`), into debt if need be.
- **Tokens per second** are delivered completion tokens. An engine cannot slow one request
  down, so the ingress reads it at full speed and spaces what it passes on (`pacer`). What
  was generated ahead of the ceiling is debt: the tenant's next request is refused until the
  debt is repaid. That is what protects the batch.
- **Requests per minute** are counted at the header, before a request costs anything, and
  whatever becomes of it.
- **Concurrent requests** are those whose body is arriving and those that are admitted and
  not settled.

Nothing here is shared between ingress replicas. Several of them lease what they enforce:
`router.leases.leased_ceiling`. See docs/adr/0004-ceilings.md and 0018-ledger.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from router.errors import Rejected, RejectReason
from router.limits.bucket import Bucket, RateLimitState
from router.limits.pacer import FOREVER, Pacer, Step
from router.limits.reservation import Reckoning, Reservation, first_charge

MAX_DEBT_S = 1.0
"""Debt under a tokens-per-second ceiling past which nothing is admitted."""


@dataclass(frozen=True, slots=True)
class CeilingConfig:
    """A tenant's limits; None means no limit.

    Attributes:
        tokens_per_second: delivered completion tokens, any one-second window.
        tokens_per_minute: prompt and completion tokens.
        requests_per_minute: requests that were read, whatever became of them.
        concurrent_requests: arriving, or admitted and not ended.
        contended_from: requests that run or wait in a lane, from which on
            `tokens_per_second` binds; None: it always does.

    """

    tokens_per_second: float | None = None
    tokens_per_minute: float | None = None
    requests_per_minute: float | None = None
    concurrent_requests: int | None = None
    contended_from: int | None = None


class TenantCeiling:
    """All ceilings of one tenant in one ingress replica.

    Attributes:
        reserved: tokens that requests hold which have not been settled.
        running: requests that were admitted and have not been settled.
        arriving: requests that are to run, and whose body is not here yet.
        pacer: spaces delivered tokens; None: tokens per second are not limited.
        tokens: the minute's tokens; None: they are not limited.
        requests: the minute's requests; None: they are not limited.

    """

    def __init__(self, config: CeilingConfig, *, now: float) -> None:
        self.reserved = 0
        self.running = 0
        self.arriving = 0
        self.pacer: Pacer | None = None
        self.tokens: Bucket | None = None
        self.requests: Bucket | None = None
        self.configure(config, now=now)

    def configure(self, config: CeilingConfig, *, now: float) -> None:
        """Use new limits from now on; what was spent, runs or is owed stays so."""
        self.config = config
        self.tokens = _resized(self.tokens, config.tokens_per_minute, now, refunds=True)
        self.requests = _resized(self.requests, config.requests_per_minute, now)
        rate = config.tokens_per_second
        if rate is None:
            self.pacer = None
        elif self.pacer is None:
            self.pacer = Pacer(rate, now=now)
        else:
            self.pacer.set_steps([Step(FOREVER, rate)], now=now)

    def first_charge(self, cost: Reckoning) -> int:
        """Return the tokens that a request reserves when it is admitted."""
        return cost.whole if self.tokens is None else first_charge(cost, self.tokens.most)

    def try_admit(
        self, tokens: int, *, now: float, is_paced: bool = True
    ) -> Reservation | Rejected:
        """Reserve `tokens` for a counted request, or say which ceiling refuses it.

        `is_paced`: tokens per second bind now.
        """
        refused = self.refusal(tokens, now=now, is_paced=is_paced, is_counted=True)
        if refused is not None:
            return refused
        self.reserved += tokens
        self.running += 1
        return Reservation(tokens, now, self._charge(tokens, now))

    def try_request(self, *, now: float, will_run: bool = False) -> Rejected | None:
        """Count a request of the minute, or say which ceiling refuses it.

        `will_run`: it is `arriving` from now on, until `arrived` is called.
        """
        if will_run and self._is_full(now):
            return _too_many_at_once()
        refused = self.request_refusal(now=now)
        if refused is not None:
            return refused
        if self.requests is not None:
            self.requests.charge(1, now=now)
        self.arriving += will_run
        return None

    def arrived(self) -> None:
        """Count one less that is arriving: its body is here, or will not come."""
        self.arriving -= 1

    def _is_full(self, _now: float) -> bool:
        limit = self.config.concurrent_requests
        return limit is not None and self._open >= limit

    @property
    def _open(self) -> int:
        return self.running + self.arriving

    def request_refusal(self, *, now: float) -> Rejected | None:
        """Return a refusal if the minute's requests are spent."""
        if self.requests is not None and (wait := self.requests.wait_s(1, now=now)) > 0:
            message = "Too many requests: the minute's are spent."
            return Rejected(RejectReason.REQUEST_RATE, message, wait)
        return None

    def grow(self, reservation: Reservation, tokens: int, *, now: float) -> Reservation:
        """Charge a running request `tokens` more; it is never refused, later ones may be."""
        self.reserved += tokens
        return reservation.grown(tokens, self._charge(tokens, now), now=now)

    def _charge(self, tokens: int, now: float) -> float:
        return 0.0 if self.tokens is None else self.tokens.charge(tokens, now=now)

    def settle(self, reservation: Reservation, used_tokens: int, *, now: float) -> None:
        """Replace a reservation with what was really used; to be called exactly once."""
        self.running -= 1
        self.settle_charge(reservation, used_tokens, now=now)

    def try_charge(self, tokens: int, *, now: float) -> Reservation | None:
        """Reserve `tokens` for what is done besides for a request; None: there is no room.

        It takes no place among the requests: the one that it is done for has its own.
        `settle_charge` has to follow.
        """
        if self._debt_s(now) > MAX_DEBT_S:
            return None
        if self.tokens is not None and self.tokens.wait_s(tokens, now=now) > 0:
            return None
        self.reserved += tokens
        return Reservation(tokens, now, self._charge(tokens, now))

    def settle_charge(self, reservation: Reservation, used_tokens: int, *, now: float) -> None:
        """Replace what `try_charge` reserved with what was used; to be called exactly once."""
        self.reserved -= reservation.tokens
        if self.tokens is not None:
            safe = reservation.safe_tokens
            for unused, since in reservation.unused(used_tokens):
                self.tokens.give_back(unused, safe, since=since, now=now)
                safe = max(0.0, safe - unused)
            if self.reserved == 0:
                self.tokens.forget_peaks()

    def requests_state(self, *, now: float) -> RateLimitState | None:
        """Return what is left of the minute's requests; None: they are not limited."""
        return None if self.requests is None else self.requests.state(now=now)

    def tokens_state(self, *, now: float) -> RateLimitState | None:
        """Return what is left of the minute's tokens; None: they are not limited."""
        return None if self.tokens is None else self.tokens.state(now=now)

    def refusal(
        self, tokens: int, *, now: float, is_paced: bool = True, is_counted: bool = False
    ) -> Rejected | None:
        """Return the refusal that a request of `tokens` would get now, if any.

        `is_counted`: it is one of the minute's requests already.
        """
        if self._is_full(now):
            return _too_many_at_once()
        if not is_counted and (spent := self.request_refusal(now=now)) is not None:
            return spent
        if self.tokens is not None and (wait := self.tokens.wait_s(tokens, now=now)) > 0:
            return Rejected(RejectReason.TOKEN_RATE, "The minute's tokens are spent.", wait)
        if is_paced and (debt := self._debt_s(now)) > MAX_DEBT_S:
            # A client that came only when all is repaid would leave the ceiling unused until
            # its first token.
            message = "The tokens-per-second ceiling is overdrawn."
            return Rejected(RejectReason.TOKEN_RATE, message, debt - MAX_DEBT_S)
        return None

    def is_short(self, _tokens: int, /, *, now: float, is_counted: bool = False) -> bool:  # noqa: ARG002
        """Return whether a request was refused for want of a lease; here nothing is leased."""
        return False

    def _debt_s(self, now: float) -> float:
        # A stream that is being paced always has its next token booked; only
        # what lies past that is debt left by streams that have ended.
        return 0.0 if self.pacer is None else self.pacer.debt_s(now=now)


def _too_many_at_once() -> Rejected:
    # When one of them ends is not known: a second is a guess.
    return Rejected(RejectReason.TENANT_CONCURRENCY, "Too many requests at once.", 1.0)


def _resized(
    bucket: Bucket | None, limit: float | None, now: float, *, refunds: bool = False
) -> Bucket | None:
    if limit is None:
        return None
    if bucket is None:
        return Bucket(limit, now=now, refunds=refunds)
    if limit != bucket.limit:
        bucket.resize(limit, now=now)
    return bucket
