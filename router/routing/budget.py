"""A tenant's budget of escalations on one level, counted in requests.

**Own bucket.** A tenant earns `budget` escalations per scored request. With
none left it may borrow while the level is behind its share, if it is in line.

**Hard bucket.** Charged by every escalation, sticky turns too. It earns rho per
scored request and holds at most S. *Bound*: take any 1,000 consecutive scored
requests of a tenant, n_i of them at replica i of N. Replica i begins with at
most S, earns at most rho * n_i and never pays what it does not have, so all
replicas together pay at most N * S + 1000 * rho. With S = max(1, 500 * budget /
N) and rho = min(1.5 * budget, 2 * budget - N * S / 1000) that is at most
2 * budget * 1000. A budget under N / 1000 is thereby not met in full, and one
under N / 2000 is never: N replicas that do not talk cannot spend less than one each.

**Adoption bucket.** Pays for turns of agents that are said to have begun, and gone up, at
another ingress replica (or before a restart): this one has only the conversation's word for
it, which a client can make up. It is `max(1, N - 1)` hard buckets large and fills as fast,
since of the turns that began elsewhere so many may be met here. By the same sum a tenant
adopts at most max(1, N - 1) * 2 * budget * 1000 turns in any 1,000 scored requests, and
nothing at all by sending steps alone.

Buckets count requests, not seconds: waiting earns nothing. An unknown tenant has a
full hard bucket as long as no tenant was ever forgotten. From then on it may be a
forgotten one, and begins with nothing: being forgotten earns nothing either. (A
replica that is restarted has forgotten that it forgot: its tenants get one full
bucket again.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

# The length of the window that the hard bound speaks of, in scored requests.
BOUND_REQUESTS = 1000

# Half of the window's worth may be saved up, so that refill and depth together stay
# under twice the budget.
DEPTH_REQUESTS = BOUND_REQUESTS / 2


@dataclass(frozen=True, slots=True)
class Limits:
    """Buckets of one budget: refills per scored request, and the depth of both.

    `others` is how many ingress replicas a turn may have begun at that is met here.
    """

    budget: float
    refill: float
    depth: float
    others: int = 1

    @property
    def adoption_depth(self) -> float:
        return self.depth * self.others

    def newcomer(self, rate: float, *, is_known: bool) -> Account:
        """Return a tenant's account; with nothing in it where it may be a forgotten tenant's."""
        if not is_known:
            return Account(0.0, rate)
        return Account(self.depth, rate, adoption=self.adoption_depth)


@lru_cache(maxsize=1024)
def limits_of(budget: float, replicas: int) -> Limits:
    """Return the buckets of a budget, one share of `replicas`; ValueError outside [0, 1]."""
    if not 0 <= budget <= 1:
        raise ValueError("a budget must lie in [0, 1]")
    depth = max(1.0, DEPTH_REQUESTS * budget / replicas)
    refill = min(1.5 * budget, 2 * budget - replicas * depth / BOUND_REQUESTS)
    others = max(1, replicas - 1)
    return Limits(budget, max(0.0, refill), depth if refill > 0 else 0.0, others)


@dataclass(slots=True)
class Account:
    """One tenant on one level; `rate` is how often it scores at or over the threshold."""

    hard: float
    rate: float
    own: float = 0.0
    adoption: float = 0.0

    def hard_level(self, limits: Limits) -> float:
        """Return the hard bucket with the refill of the request at hand."""
        return min(limits.depth, self.hard + limits.refill)

    def own_level(self, limits: Limits) -> float:
        """Return the own bucket with the refill of the request at hand."""
        return min(limits.depth, self.own + limits.budget)

    def earn(self, limits: Limits) -> None:
        depth, others, refill = limits.depth, limits.others, limits.refill
        hard, own = self.hard + refill, self.own + limits.budget
        adoption, deepest = self.adoption + refill * others, depth * others
        self.hard = hard if hard < depth else depth
        self.own = own if own < depth else depth
        self.adoption = adoption if adoption < deepest else deepest

    def adopt(self) -> None:
        """Pay for a turn that is said to have gone up elsewhere."""
        self.adoption -= 1

    def pay(self, limits: Limits, *, sticky: bool) -> None:
        """Charge an escalation.

        A sticky turn may leave the own bucket in debt; what was borrowed does not.
        """
        self.hard -= 1
        if sticky or self.own >= 1:
            self.own = max(-limits.depth, self.own - 1)
