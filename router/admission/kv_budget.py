"""Tokens that a tenant may have resident in a lane's KV cache, and what waits for them.

A request is reckoned at its prompt and the answer it may get, reserved before it queues
for a slot; where the answer grows past that, the reservation grows along. What it holds is
given back when its engine is done with it. A request that does not fit into what is left of
its tenant's budget waits behind its tenant's others, whose users take turns (`rotation`), apart
from the lane's queue: other tenants pass it by, and the fair queue does not count it as waiting,
so it earns no credit.

No request waits forever: it waits only while its tenant holds tokens, so every one that
waits has one before it that will end. A request larger than the whole budget runs when its
tenant holds nothing else.

Memory: an account (about 300 bytes) for each tenant that holds tokens or waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from router.admission.rotation import OfUser, Rotation


@dataclass(frozen=True, slots=True)
class KvAsk:
    """What a request needs of its tenant's `limit_tokens`.

    `output_tokens` are of all its answers together, at most or as a guess.
    """

    limit_tokens: int
    prompt_tokens: int
    output_tokens: int


@dataclass(slots=True, eq=False)
class KvAccount:
    """One tenant's tokens in one lane, and its requests that wait for more."""

    tenant: str
    limit: int
    tokens: int = 0
    waiting: Rotation[Any] = field(default_factory=Rotation)

    def fits(self, tokens: int) -> bool:
        """Return whether so many more fit; when nothing is held, any number does."""
        return not self.tokens or self.tokens + tokens <= self.limit


@dataclass(slots=True, eq=False)
class KvHold:
    """One request's reservation."""

    account: KvAccount
    prompt_tokens: int
    tokens: int

    def grow(self, delivered: int) -> None:
        """Take the tokens answered so far, in all; more than reserved count, too."""
        more = self.prompt_tokens + delivered - self.tokens
        if more > 0:
            self.tokens += more
            self.account.tokens += more


class _Holder(OfUser, Protocol):
    hold: KvHold | None


T = TypeVar("T", bound=_Holder)


class KvBudgets(Generic[T]):
    """The tenants' budgets in one lane of one ingress replica."""

    def __init__(self) -> None:
        self._accounts: dict[str, KvAccount] = {}
        self.waiting = 0

    @property
    def tokens(self) -> int:
        """What all tenants together have reserved."""
        return sum(account.tokens for account in self._accounts.values())

    def enter(self, item: T, tenant: str, ask: KvAsk) -> bool:
        """Reserve a request's tokens; False: it has to wait until `leave` hands it out."""
        account = self._accounts.get(tenant)
        if account is None:
            account = self._accounts[tenant] = KvAccount(tenant, ask.limit_tokens)
        account.limit = ask.limit_tokens
        tokens = ask.prompt_tokens + ask.output_tokens
        item.hold = KvHold(account, ask.prompt_tokens, tokens)
        if account.waiting or not account.fits(tokens):
            account.waiting.add(item)
            self.waiting += 1
            return False
        account.tokens += tokens
        return True

    def leave(self, item: T) -> list[T]:
        """Free what a request holds, or its place; return those that are let in for it.

        Without effect for one that never asked. Once for each.
        """
        hold, item.hold = item.hold, None
        if hold is None:
            return []
        account = hold.account
        if item in account.waiting:
            account.waiting.take(item, starts=False)
            self.waiting -= 1
        else:
            account.tokens -= hold.tokens
        let_in = self._let_in(account)
        if not account.tokens and not account.waiting:
            del self._accounts[account.tenant]
        return let_in

    def _let_in(self, account: KvAccount) -> list[T]:
        found: list[T] = []
        while account.waiting:
            item: T = account.waiting.first()
            assert item.hold is not None
            if not account.fits(item.hold.tokens):
                break
            account.waiting.take(item)
            self.waiting -= 1
            account.tokens += item.hold.tokens
            found.append(item)
        return found
