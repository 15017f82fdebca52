"""Which wall binds, what to do next, and what the documents' rules say of a plan.

The rules are the chatbot guide's and the agent guide's, with their figures; where this
plan's own reckoning says otherwise, both are told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fleet.memory.shape import NotReckoned
from fleet.plan.plan import STRONGER, NoPlan, Plan, plan
from fleet.plan.reckoning.money import HOSTED, Hosted, break_even_tokens, hosted_bill
from fleet.plan.reckoning.sizing import Wall

FEW, SEVERAL, MANY = 5, 10, 25
"""Active sessions: below the first a small card does, above the second a 4090 pays, and above
the third an agents' fleet should look at the 5090."""

AGENT_SECOND_CARD = 12
HOSTED_BELOW, CARD_HOLDS = 100e6, 2e9
"""Tokens a month: below the first a hosted model is right, above the second a card is full."""

WORTH_IT = 0.9
"""Of the bill: another kind of card for hardly less is no advice."""

LONG_CONTEXT = 32_768
ROTATING = 0.5
"""Share of the pool that system prompts may take before LRU loses those of quiet tenants."""


@dataclass(frozen=True, slots=True)
class Crossing:
    """A hosted model beside the plan.

    Attributes:
        dollars_a_million: blended.
        bill: what it asks for the plan's tokens.
        from_tokens: a month, from which the plan's cards are cheaper.

    """

    model: str
    dollars_a_million: float
    bill: float
    from_tokens: float


def crossings(now: Plan, hosted: Mapping[str, Hosted] = HOSTED) -> list[Crossing]:
    """Return what hosted models ask for the plan's tokens, prompts of history included."""
    tokens = now.tokens_a_month
    share = 1 - 30 * now.turns_a_day * now.talk.output / tokens
    found = []
    for model, price in hosted.items():
        each = price.blended(share)
        found.append(
            Crossing(model, each, hosted_bill(tokens, each), break_even_tokens(now.bill, each))
        )
    return found


def binding(now: Plan, hosted: Mapping[str, Hosted] = HOSTED) -> Wall:
    """Return the wall of the plan: cost where every hosted model is cheaper than its cards."""
    if all(x.bill < now.bill for x in crossings(now, hosted)):
        return Wall.COST
    return now.tightest.capacity.wall


def next_steps(now: Plan) -> Iterator[str]:
    """Yield what to do next, the first first."""
    for kind, count in now.short.items():
        yield f"get {count} more {kind}"
    yield from _better_card(now)
    yield from _without_stronger(now)
    lane = now.tightest
    room = lane.replicas * lane.capacity.sessions
    share = lane.demand.peak / room
    if not now.short:
        yield (
            f"add a replica of {lane.name} at {0.83 * room:,.0f} sessions at once (now "
            f"{lane.demand.peak:,.1f} of {room:,}, {share:.0%})"
        )
    yield from _warnings(now)


def _better_card(now: Plan) -> Iterator[str]:
    """A kind of card that does it for less, if one does."""
    if not now.short:
        return
    offers = []
    for kind in now.wish.cards:
        if kind in now.wish.stock:
            continue
        try:
            other = plan(replace(now.wish, stock={kind: 0}))
        except (NoPlan, NotReckoned):
            continue
        offers.append((other.bill, other.cards, kind))
    if offers:
        bill, cards, kind = min(offers)
        if bill < WORTH_IT * now.bill:
            yield f"or take {cards} {kind} instead: {bill:,.0f} USD a month, not {now.bill:,.0f}"


def _without_stronger(now: Plan) -> Iterator[str]:
    """Complex questions in `chat`, where their own lane is what the cards do not hold."""
    if not now.short or STRONGER not in {lane.name for lane in now.lanes}:
        return
    workload = now.wish.workload.model_copy(update={"complex_share": 0.0})
    other = plan(replace(now.wish, workload=workload))
    if other.cards < now.cards:
        enough = "" if other.short else ", at hand"
        yield f"or let chat answer all (--complex-share 0): cards {other.cards}{enough}"


def _warnings(now: Plan) -> Iterator[str]:
    talk, users = now.talk, now.wish.users
    for lane in now.lanes:
        prompts = talk.tenants * talk.system
        if prompts > ROTATING * lane.served.memory.pool_tokens:
            yield (
                f"{lane.name}: {talk.tenants} tenants' system prompts are {prompts:,.0f} of "
                f"{lane.served.memory.pool_tokens:,.0f} tokens of KV, and LRU drops those of quiet "
                "tenants: give tenants replicas of their own, or set host_kv_cache"
            )
        burst = lane.replicas * lane.capacity.sessions
        if lane.demand.burst > burst:
            yield (
                f"{lane.name}: bursts of {lane.demand.burst:,.0f} are more than its {burst:,} "
                "sessions; the promise is broken while they last"
            )
    if users.free_ratio and "free" not in {lane.name for lane in now.lanes}:
        yield "the free tier has no pool of its own"


def verdict(now: Plan) -> Iterator[str]:
    """Yield the documents' rules that this plan meets."""
    peak, tokens = now.peak, now.new_tokens_a_month
    is_agents = now.lanes[0].name == "agent"
    if is_agents and tokens < HOSTED_BELOW:
        yield f"{tokens / 1e6:,.0f} M tokens a month are few: a hosted API is the right answer"
    elif is_agents and (peak > AGENT_SECOND_CARD or tokens > CARD_HOLDS):
        yield "more than 12 agents at once or 2 B tokens a month: a second card, balanced"
    if is_agents and peak > MANY:
        yield "more than 25 agents at once: look at the 5090"
    if not is_agents and peak < FEW:
        yield "fewer than 5 sessions at once: a small card does (5060 Ti)"
    elif not is_agents and peak > SEVERAL:
        yield "more than 10 sessions at once: a 24 GB card pays"
    if now.talk.context >= LONG_CONTEXT:
        yield "contexts of 32k are common: the 5090's 32 GB"
    if max(lane.replicas for lane in now.lanes) > 1:
        yield "several cards behind the balancer rather than one larger: the tail is shorter"
