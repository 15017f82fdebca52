"""What a plan would be with one thing changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fleet.memory.budget import GIB
from fleet.memory.shape import NotReckoned
from fleet.plan.plan import Fitted, LanePlan, NoPlan, Plan, Wish, plan, serve
from fleet.plan.reckoning.demand import DAY_S
from fleet.plan.reckoning.engine import Served, narrow_kv
from fleet.plan.reckoning.load import load
from fleet.plan.reckoning.money import HOURS_A_MONTH, capped_speed, day_share, warm_ratio
from fleet.plan.reckoning.sizing import kv_sessions

EMBEDDER_BYTES = 2.3 * GIB
"""bge-m3 in 16 bits (1.1 GiB) with a context and activations of its own (1.2)."""

START_S = 120.0
"""To load a replica whose weights lie on its host; the documents say minutes."""

MOST_GROWTH, HALVINGS = 1024.0, 12
"""Of the search for what a stock holds."""

CAP_RATIO = 0.85
"""Of a card's power, where no document says what to cap it at."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """A change, in a sentence, with its fleet where it makes another.

    Attributes:
        cards: of the changed fleet; None: the same fleet.
        bill: dollars a month.

    """

    name: str
    text: str
    cards: int | None = None
    bill: float | None = None


def what_ifs(now: Plan) -> Iterator[WhatIf]:
    """Yield those that apply to the plan."""
    yield from _kv_bytes(now)
    yield from _free_tier(now)
    yield from _one_card(now)
    yield autoscaled(now)
    yield power_capped(now)
    yield embedder(now)
    yield prefix_cache(now)
    yield from _strongest(now)


def _kv_bytes(now: Plan) -> Iterator[WhatIf]:
    lane = now.lanes[0]
    narrow = narrow_kv(lane.served.shape, lane.served.card)
    if narrow == "bfloat16":
        return
    wanted = replace(now.wish, kv_8bit=not now.wish.kv_8bit)
    name = f"{narrow} KV" if wanted.kv_8bit else "16-bit KV"
    try:
        other = plan(wanted)
    except NoPlan as error:
        yield WhatIf(name, str(error))
        return
    tokens = other.lanes[0].served.memory.pool_tokens
    held, holds = other.lanes[0].capacity.sessions, lane.capacity.sessions
    yield WhatIf(
        name,
        f"{tokens:,.0f} tokens of KV a replica instead of {lane.served.memory.pool_tokens:,.0f}, "
        f"{held} sessions instead of {holds}",
        other.cards,
        other.bill,
    )


def _free_tier(now: Plan) -> Iterator[WhatIf]:
    """The free tier among the paid, as against its own pool."""
    free = now.wish.users.free_ratio
    if not free:
        return
    other = plan(replace(now.wish, users=now.wish.users.model_copy(update={"free_ratio": 0.0})))
    yield WhatIf(
        "free tier in the paid pool",
        "not advised: its sessions' KV takes room from paid ones, and the larger model answers",
        other.cards,
        other.bill,
    )


def _one_card(now: Plan) -> Iterator[WhatIf]:
    """Two lanes of one replica each on one card."""
    if len(now.lanes) < 2 or any(lane.cards > 1 for lane in now.lanes[:2]):
        return
    first, second = now.lanes[:2]
    left = shared_pool_bytes(first, second)
    name = f"{first.name} and {second.name} on one card"
    if left <= 0:
        yield WhatIf(name, f"does not fit: {-left / GIB:.1f} GiB short before any KV")
        return
    each = first.served.memory.kv_per_token + second.served.memory.kv_per_token
    sessions = kv_sessions(left / each, now.talk)
    yield WhatIf(
        name,
        f"leaves {left / GIB:.1f} GiB of KV, {left / each:,.0f} tokens and {sessions} sessions "
        "for each; both share the card's speed",
    )


def shared_pool_bytes(first: LanePlan, second: LanePlan) -> float:
    """Return what two engines leave for KV of a card that they share."""
    one, other = first.served.memory, second.served.memory
    return one.budget - one.weights - one.overhead - other.weights - other.overhead


def autoscaled(now: Plan) -> WhatIf:
    """A fleet that follows the day, with what must stand ready for its steepest rise."""
    ready = warm_ratio(now.wish.users.swing, START_S)
    share = day_share(now.lanes[0].demand.mean_ratio, ready)
    # Of a lane one replica is always there.
    least = sum(now.bill_of(lane) / lane.replicas for lane in now.lanes)
    bill = max(now.bill * share, least)
    saved = 1 - bill / now.bill if now.bill else 0.0
    if now.wish.tariff.months is not None:
        return WhatIf("autoscaling", "saves power alone: the cards are bought")
    return WhatIf(
        "autoscaling",
        f"over a day whose peak is {now.wish.users.swing:g} times its trough saves {saved:.0%}; "
        f"{ready:.1%} of the peak stand ready while a replica loads",
        now.cards,
        bill,
    )


def power_capped(now: Plan) -> WhatIf:
    card = now.lanes[0].served.card
    cap = card.power_cap_w or CAP_RATIO * card.power_w
    lost = 1 - capped_speed(card, cap)
    kwh = now.cards * (card.power_w - cap) / 1000 * HOURS_A_MONTH
    return WhatIf(
        "power cap",
        f"`nvidia-smi -pl {cap:.0f}` costs up to {lost:.1%} of prefill, nothing of decoding, and "
        f"saves up to {kwh:,.0f} kWh a month ({kwh * now.wish.tariff.kwh:,.0f} USD)",
    )


def embedder(now: Plan) -> WhatIf:
    """A small embedding model on the first lane's cards."""
    lane = now.lanes[0]
    memory = lane.served.memory
    pool = (memory.pool - EMBEDDER_BYTES) / memory.kv_per_token
    utilization = lane.served.engine.gpu_memory_utilization - EMBEDDER_BYTES / memory.card
    left = kv_sessions(pool, now.talk)
    text = f"takes {EMBEDDER_BYTES / GIB:.1f} GiB"
    if left < 1:
        return WhatIf("embedder beside", f"{text}, which {lane.name} does not have")
    return WhatIf(
        "embedder beside",
        f"{text}: gpu_memory_utilization {utilization:.2f} for {lane.name}, whose KV then holds "
        f"{left} sessions; it holds {min(left, lane.capacity.sessions)} in all",
    )


def prefix_cache(now: Plan) -> WhatIf:
    """What the cache saves: prompts that are not read again."""
    saved_s = sum(
        lane.demand.turns_a_day * now.talk.requests * saved_prefill_s(lane, now)
        for lane in now.lanes
    )
    lane = now.lanes[0]
    cold = replace(lane.served.replica(now.talk.context), pool_tokens=0.0)
    slower = load(cold, now.talk, max(1.0, lane.demand.peak / lane.replicas))
    return WhatIf(
        "without a prefix cache",
        f"{saved_s / 60:,.0f} GPU-minutes a day more prefill ({saved_s / DAY_S:.2f} cards); "
        f"{slower.tokens_per_s_per_user:.0f} tokens/s per user in the busiest hour instead of "
        f"{lane.now.tokens_per_s_per_user:.0f}",
    )


def saved_prefill_s(lane: LanePlan, now: Plan) -> float:
    """Return the prefill of one request that its cached prefix saves, in seconds."""
    step = lane.served.timing
    known = round(now.talk.system + now.talk.history)
    return step.seconds(known, known * known / 2, 0, 0) - step.seconds(1, 1.0, 0, 0)


def _strongest(now: Plan) -> Iterator[WhatIf]:
    """A 70B that composes an agent's answers, which cannot be had on one 24 GB card."""
    lane = now.lanes[0]
    if lane.name != "agent":
        return
    source = "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4"
    kind, rounds = lane.served.card_name, now.talk.rounds
    wish = replace(now.wish, models={"agent": source}, profiles={})
    try:
        cards = next(n for n in (1, 2, 4, 8) if _holds(serve(wish, "agent", kind, n), now))
    except (StopIteration, NotReckoned):
        return
    step = serve(wish, "agent", kind, cards).timing
    compose = rounds[-1].output * step.seconds(0, 0, 1, round(now.talk.context))
    yield WhatIf(
        "a 70B composes",
        f"takes {cards} cards of this kind and {compose:.1f} s for {rounds[-1].output:.0f} tokens",
        now.cards + cards,
        now.bill + cards * now.wish.tariff.card_a_month(lane.served.card),
    )


def _holds(served: Served, now: Plan) -> bool:
    return served.memory.has_room_for(round(now.talk.longest))


def growth(wish: Wish) -> float:
    """Return how many times the wish's users the stock alone holds; 0: not even few."""
    low, high = 0.0, 1.0
    fitted: Fitted = {}
    while high < MOST_GROWTH and not plan(_times(wish, high), fitted).short:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if plan(_times(wish, middle), fitted).short:
            high = middle
        else:
            low = middle
    return low


def _times(wish: Wish, factor: float) -> Wish:
    """The wish with so many times the sessions."""
    users = wish.users
    if users.active is not None:
        more = users.model_copy(update={"active": users.active * factor})
    elif users.turns_per_s is not None:
        more = users.model_copy(update={"turns_per_s": users.turns_per_s * factor})
    else:
        by = {"sessions": users.sessions * factor, "power_sessions": users.power_sessions * factor}
        more = users.model_copy(update=by)
    return replace(wish, users=more)
