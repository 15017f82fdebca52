"""Virtual-token-counter fairness across the tenants of one tier.

Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024), algorithm 2,
with weights. Each tenant has a counter of the service it was given,

    (w_p * prompt tokens + w_q * output tokens) / weight,

charged with the prompt when its request starts and with the answer as it is delivered.
The waiting tenant with the least counter goes next. Of a tenant's own requests its users
take turns (`rotation`), and its background requests let up to `MAX_OVERTAKES` others go first,
each time that one of them starts. That is between its own: no other tenant waits longer or
shorter.
A tenant that comes back from idle is lifted to the least counter of those that
wait (when none waits, to that of the tenant that left the queue last): time in which
it asked for nothing is no credit. For two tenants that wait all the while, the service
differs by at most 2 max(w_p * longest prompt, w_q * tokens in the engines at once)
(theorem 4.4), whatever they ask for.

Counters only rise, so the heap holds lower bounds: an entry is compared with its tenant's
counter when it comes to the top, and put back if that has risen. Delivering a token is one
addition and touches no heap.

Memory: one account (about 500 bytes) for each tenant that waits or runs, and for at most
`max_idle` idle ones. Idle accounts that a lift would overtake anyway are forgotten at once;
past `max_idle` the one that is ahead least is, which forgives it that much.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from router.admission.rotation import OfUser, Rotation

# w_p and w_q as in the paper's evaluation (and as vendors price tokens, roughly).
PROMPT_WEIGHT = 1.0
OUTPUT_WEIGHT = 2.0

MAX_OVERTAKES = 8
"""Requests of a tenant that leave the queue before its oldest background one, while that waits."""


@dataclass(slots=True, eq=False)
class Account:
    """One tenant's weighted service in one queue.

    Attributes:
        counter: in prompt tokens.
        waiting: requests that wait: `queued`, and background ones apart in `later`.
        overtakes: how many went before the oldest of `later`.

    """

    tenant: str
    weight: float
    counter: float
    running: int = 0
    queued: Rotation[Any] = field(default_factory=Rotation)
    later: Rotation[Any] = field(default_factory=Rotation)
    waiting: int = 0
    overtakes: int = 0
    is_listed: bool = False
    idle_entry: int = -1

    def charge(self, prompt_tokens: int = 0, output_tokens: int = 0) -> None:
        served = PROMPT_WEIGHT * prompt_tokens + OUTPUT_WEIGHT * output_tokens
        self.counter += served / self.weight

    @property
    def waits(self) -> bool:
        return self.waiting > 0

    def first(self) -> Any:
        """Return the request of this tenant, which has some waiting, that goes next."""
        is_due = self.later and self.overtakes >= MAX_OVERTAKES
        return (self.later if is_due or not self.queued else self.queued).first()

    def add(self, item: OfUser, *, is_background: bool) -> None:
        self.waiting += 1
        (self.later if is_background else self.queued).add(item)

    def take(self, item: OfUser, *, starts: bool) -> None:
        self.waiting -= 1
        if item in self.later:
            self.later.take(item, starts=starts)
            self.overtakes = 0
            return
        self.queued.take(item, starts=starts)
        self.overtakes += bool(self.later)

    def ahead_of_new(self, user: str, *, is_background: bool) -> int:
        """Return how many of its requests go before a new one of this user, at least."""
        if not is_background:
            return self.queued.ahead_of(user)
        others = min(len(self.queued), max(0, MAX_OVERTAKES - self.overtakes))
        return self.later.ahead_of(user) + others


class _Item(OfUser, Protocol):
    @property
    def account(self) -> Account: ...


T = TypeVar("T", bound=_Item)

_Heap = list[tuple[float, int, Account]]

# Heaps are rebuilt when more than half of them, and this, is out of date.
_SLACK = 64

# Accounts forgotten in one go: more than come to rest, and never a long pause.
_AT_ONCE = 2


class FairQueue(Generic[T]):
    """Requests of several tenants, in the order of their counters."""

    def __init__(self, max_idle: int = 10_000) -> None:
        self._max_idle = max_idle
        self._accounts: dict[str, Account] = {}
        self._items: OrderedDict[T, None] = OrderedDict()
        self._order: _Heap = []
        self.waiting_tenants = 0
        self._idle: _Heap = []
        self._idle_count = 0
        self._numbers = itertools.count()
        self._last_left: Account | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def known_tenants(self) -> int:
        """Tenants that have an account here: those that wait or run, and idle ones."""
        return len(self._accounts)

    def check(self) -> None:
        """Assert that the counts are those of the accounts, and that the heaps stay in bounds.

        For tests: it looks at every account.
        """
        accounts = self._accounts.values()
        waiting = [a for a in accounts if a.waits]
        assert all(a.waiting == len(a.queued) + len(a.later) for a in accounts)
        assert sum(a.waiting for a in waiting) == len(self)
        assert len(waiting) == self.waiting_tenants
        assert all(a.is_listed for a in waiting)
        assert all(stored <= a.counter for stored, _, a in self._order)
        idle = sum(a.idle_entry >= 0 for a in accounts)
        assert idle == self._idle_count <= self._max_idle
        assert len(self._order) <= 2 * self.waiting_tenants + _SLACK + 1
        assert len(self._idle) <= 2 * self._idle_count + _SLACK + 1

    def account(self, tenant: str, weight: float) -> Account:
        """Return the tenant's account; made, or lifted, if the tenant was not waiting.

        A new one is remembered from `push` or `begin` on.
        """
        account = self._accounts.get(tenant) or Account(tenant, weight, 0.0)
        account.weight = weight
        if not account.waiting:
            account.counter = max(account.counter, self.floor)
        return account

    @property
    def floor(self) -> float:
        """What a tenant that comes back from idle is lifted to."""
        self._tidy()
        if self._order:
            return self._order[0][0]
        return self._last_left.counter if self._last_left is not None else 0.0

    def push(self, item: T, *, is_background: bool = False) -> None:
        account = item.account
        if not account.waits:
            self.waiting_tenants += 1
            self._wake(account)
            if not account.is_listed:
                account.is_listed = True
                heapq.heappush(self._order, (account.counter, next(self._numbers), account))
        account.add(item, is_background=is_background)
        self._items[item] = None

    def peek(self) -> T | None:
        self._tidy()
        if not self._order:
            return None
        found: T = self._order[0][2].first()
        return found

    def remove(self, item: T, *, starts: bool = True) -> None:
        """Take a request out; `starts`: its user had a turn by it."""
        account = item.account
        del self._items[item]
        account.take(item, starts=starts)
        if not account.waits:
            self.waiting_tenants -= 1
            self._last_left = account
            self._rest(account)

    def newest(self) -> T | None:
        return next(reversed(self._items), None)

    def begin(self, account: Account, prompt_tokens: int) -> None:
        """Start a request of the tenant, which has left the queue or never was in it."""
        self._wake(account)
        account.running += 1
        account.charge(prompt_tokens=prompt_tokens)
        if not account.waits:
            self._last_left = account

    def end(self, account: Account) -> None:
        account.running -= 1
        self._rest(account)

    def _tidy(self) -> None:
        """Bring the waiting tenant with the least counter to the top."""
        order = self._order
        if len(order) > 2 * self.waiting_tenants + _SLACK:
            self._rebuild_order()
            order = self._order
        while order:
            counter, number, account = order[0]
            if not account.waiting:
                heapq.heappop(order)
                account.is_listed = False
            elif counter < account.counter:
                heapq.heapreplace(order, (account.counter, number, account))
            else:
                return

    def _rebuild_order(self) -> None:
        kept = []
        for _, number, account in self._order:
            if account.waits:
                kept.append((account.counter, number, account))
            else:
                account.is_listed = False
        heapq.heapify(kept)
        self._order = kept

    def _wake(self, account: Account) -> None:
        if account.idle_entry >= 0:
            account.idle_entry = -1
            self._idle_count -= 1
        self._accounts[account.tenant] = account

    def _rest(self, account: Account) -> None:
        """Note an account that may have become idle, and forget what can be."""
        if account.waiting or account.running:
            return
        account.idle_entry = next(self._numbers)
        self._idle_count += 1
        heapq.heappush(self._idle, (account.counter, account.idle_entry, account))
        self._forget()

    def _forget(self) -> None:
        idle, floor = self._idle, self.floor
        for _ in range(len(idle)) if self._idle_count > self._max_idle else range(_AT_ONCE):
            if not idle:
                break
            counter, number, account = idle[0]
            if account.idle_entry == number:
                if counter > floor and self._idle_count <= self._max_idle:
                    break
                account.idle_entry = -1
                self._idle_count -= 1
                del self._accounts[account.tenant]
            heapq.heappop(idle)
        if len(idle) > 2 * self._idle_count + _SLACK:
            self._idle = [entry for entry in idle if entry[2].idle_entry == entry[1]]
            heapq.heapify(self._idle)
