"""What a request is charged under its tenant's ceilings, from admission to the end."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

from router.limits.ceiling import TenantCeiling
from router.limits.contention import Contention
from router.limits.pacer import ContendedPacer, Paces
from router.limits.reservation import Reservation, further_charge
from serve_app.request.plan import Plan


@dataclass(slots=True)
class Charge:
    """A request that has reserved nothing.

    Attributes:
        ceiling: the tenant's, once it was asked.
        usage_number: the meter's for it, from admission on.

    """

    ceiling: TenantCeiling | None = None
    contention: Contention | None = None
    usage_number: int | None = None

    @property
    def pacer(self) -> Paces | None:
        """The tenant's tokens-per-second ceiling, if it has one."""
        pacer = self.ceiling.pacer if self.ceiling is not None else None
        if pacer is None or self.contention is None:
            return pacer
        return ContendedPacer(pacer, self.contention)

    @property
    def covered_tokens(self) -> float:
        """Tokens that may be delivered before more has to be charged (`cover`)."""
        return inf

    def cover(self, tokens: int, *, now: float) -> float:  # noqa: ARG002 - see Reserved
        """Charge what a stream has outgrown, `tokens` in all. Return how far that goes."""
        return inf

    @property
    def abandoned_tokens(self) -> int:
        """Weighted tokens of a whole answer that nobody waited for."""
        return 0

    def settle(self, tokens: int, *, now: float) -> None:
        """Charge these weighted tokens in the end, and give the rest back."""


class Reserved(Charge):
    """A request that holds weighted tokens of its tenant's minute."""

    __slots__ = ("_completion_weight", "_of", "_plan", "_reservation")

    def __init__(
        self,
        ceiling: TenantCeiling,
        contention: Contention | None,
        plan: Plan,
        reservation: Reservation,
        completion_weight: float,
    ) -> None:
        super().__init__(ceiling, contention)
        self._of, self._plan, self._reservation = ceiling, plan, reservation
        self._completion_weight = completion_weight

    @property
    def covered_tokens(self) -> float:
        if not self._completion_weight or self._of.config.tokens_per_minute is None:
            return inf
        return (self._reservation.tokens - self._plan.cost.prompt) / self._completion_weight

    def cover(self, tokens: int, *, now: float) -> float:
        cost = self._plan.cost
        used = cost.prompt + ceil(tokens * self._completion_weight)
        # Where the engine was told no limit, what it was reckoned at is a guess.
        whole = inf if self._plan.answer_limit is None else cost.whole
        more = further_charge(self._reservation.tokens, used, whole)
        self._reservation = self._of.grow(self._reservation, more, now=now)
        return self.covered_tokens

    @property
    def abandoned_tokens(self) -> int:
        held = self._reservation.tokens
        # Without a limit, what was reserved is all that the window holds: no answer is so long.
        most = self._plan.cost.short if self._plan.answer_limit is None else held
        return min(most, held)

    def settle(self, tokens: int, *, now: float) -> None:
        self._of.settle(self._reservation, tokens, now=now)
