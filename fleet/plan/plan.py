"""From a workload and the cards at hand to lanes, replicas and what is short."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.cards.table import Card
from fleet.memory.models import find_shape
from fleet.plan.reckoning.demand import Demand, demand
from fleet.plan.reckoning.engine import FP8, Served, served_on
from fleet.plan.reckoning.load import Load, Talk, load, moved, talk_of
from fleet.plan.reckoning.money import Tariff, tokens_a_month
from fleet.plan.reckoning.sizing import Capacity, Wall, capacity, replicas
from simulator.model.profile import Profile
from simulator.virtual_time.users import Promise, Users
from simulator.virtual_time.workload import Workload

LLAMA, QWEN = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-14B-Instruct-AWQ"
QWEN_7B = "Qwen/Qwen2.5-7B-Instruct"
DEFAULTS = {"chat": LLAMA, "free": QWEN_7B, "quality": QWEN, "agent": QWEN}
"""Model of a lane where none is given: those of the shipped fleet. That of the free tier is smaller
than the paid one's, and half of its layers' KV heads make it 28 KiB of KV a token for 64."""

IN_4_BITS = {
    LLAMA: "hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4",
    QWEN_7B: "Qwen/Qwen2.5-7B-Instruct-AWQ",
}
"""In the place of a default on a card without FP8: its 16-bit weights would leave 24 GB little."""

MOST_CARDS_A_REPLICA = 8
STRONGER = "quality"
MOVED = 1 / 3
"""Of the turns of `quality`, those whose history another lane has: sessions stay for three."""

PATIENCE = 2.5
"""What `quality` is allowed over the promise: it is slower, and reads histories that it has not
answered. The chat guide's own 14B takes 1.9 s for the first 30 tokens, where it promises 1.2."""

ROUNDS = 12
"""Of the fixed point between sessions at once and the time of a turn."""


class NoPlan(ValueError):
    """No number of the cards given does it; the text says what would."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a plan.

    Attributes:
        workload: the traffic of one session.
        users: how many there are.
        stock: cards at hand by name; what is missing is bought of the first.
        promise: what the fleet has to keep.
        models: by lane, instead of the defaults.
        profiles: by lane: measured instead of derived.
        kv_8bit: where the model has it.

    """

    workload: Workload
    users: Users
    cards: Mapping[str, Card]
    stock: Mapping[str, int]
    promise: Promise = field(default_factory=Promise)
    tariff: Tariff = field(default_factory=Tariff)
    models: Mapping[str, str] = field(default_factory=dict)
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    kv_8bit: bool = True


@dataclass(frozen=True, slots=True)
class LanePlan:
    """A lane of the fleet.

    Attributes:
        demand: sessions that are this lane's.
        now: what each replica gives in the busiest hour.

    """

    name: str
    served: Served
    demand: Demand
    capacity: Capacity
    replicas: int
    now: Load

    @property
    def cards(self) -> int:
        return self.replicas * self.served.engine.cards

    @property
    def sessions_a_card(self) -> float:
        return self.capacity.sessions / self.served.engine.cards

    @property
    def tokens_a_month(self) -> float:
        """Tokens that its cards make in a month at what they hold, none of prompts counted."""
        at = self.capacity.at
        assert at is not None
        return tokens_a_month(self.replicas * at.in_flight * at.tokens_per_s_per_user)


@dataclass(frozen=True, slots=True)
class Plan:
    """A fleet for a wish.

    Attributes:
        talk: means of its workload.
        short: cards to buy or to rent beyond the stock, by name.
        spare: cards of the stock without a lane, by name.

    """

    wish: Wish
    talk: Talk
    lanes: tuple[LanePlan, ...]
    short: Mapping[str, int]
    spare: Mapping[str, int]

    @property
    def cards(self) -> int:
        return sum(lane.cards for lane in self.lanes)

    @property
    def bill(self) -> float:
        """Dollars a month, of the cards that have a lane."""
        return sum(self.bill_of(lane) for lane in self.lanes)

    @property
    def tokens_a_month(self) -> float:
        """Tokens of all prompts and answers, as a hosted model counts them: history again."""
        requests = self.talk.requests * (self.talk.system + self.talk.history)
        return 30 * self.turns_a_day * (requests + self.talk.tokens)

    @property
    def new_tokens_a_month(self) -> float:
        """Tokens that were not there before, as the documents count them."""
        return 30 * self.turns_a_day * self.talk.tokens

    @property
    def turns_a_day(self) -> float:
        return sum(lane.demand.turns_a_day for lane in self.lanes)

    @property
    def peak(self) -> float:
        """Sessions at once in the busiest hour."""
        return sum(lane.demand.peak for lane in self.lanes)

    def slots(self, lane: LanePlan) -> int:
        """Sequences at once of one replica: a burst's, and not what the card could take."""
        at_once = max(x.requests for x in self.talk.rounds)
        return max(1, math.ceil(lane.capacity.sessions * self.wish.users.burst * at_once))

    def bill_of(self, lane: LanePlan) -> float:
        busy = lane.demand.mean_ratio
        return lane.cards * self.wish.tariff.card_a_month(lane.served.card, busy=busy)

    @property
    def tightest(self) -> LanePlan:
        """The lane that grows out of its replicas first."""
        return max(self.lanes, key=lambda x: x.demand.peak / (x.replicas * x.capacity.sessions))


def shares(workload: Workload, users: Users) -> dict[str, float]:
    """Return the lanes of a workload and the share of sessions of each."""
    if any(stage.requests > 1 for stage in workload.stages) or workload.tools:
        return {"agent": 1.0}
    paid = 1 - users.free_ratio
    found = {
        "chat": paid * (1 - workload.complex_share),
        "quality": paid * workload.complex_share,
        "free": users.free_ratio,
    }
    return {name: share for name, share in found.items() if share > 0}


Fitted = dict[tuple[str, str], tuple[Served, Capacity]]
"""What a replica of a lane holds on a kind of card: the same for any number of users."""


def plan(wish: Wish, fitted: Fitted | None = None) -> Plan:
    """Return a fleet that holds the wish's sessions.

    Args:
        wish: what is asked.
        fitted: kept by a caller who asks again with other numbers of users.

    Raises:
        NoPlan: a lane keeps its promise with no card of the stock.
        NotReckoned: the size of a model is not known.

    """
    talk = talk_of(wish.workload)
    left = dict(wish.stock)
    short: dict[str, int] = {}
    lanes = []
    known = {} if fitted is None else fitted
    for name, share in shares(wish.workload, wish.users).items():
        lane = _cheapest(wish, name, share, talk, left, known)
        kind = lane.served.card_name
        taken = min(left[kind], lane.cards)
        left[kind] -= taken
        if lane.cards > taken:
            short[kind] = short.get(kind, 0) + lane.cards - taken
        lanes.append(lane)
    return Plan(wish, talk, tuple(lanes), short, {k: n for k, n in left.items() if n})


def _cheapest(
    wish: Wish, name: str, share: float, talk: Talk, left: Mapping[str, int], fitted: Fitted
) -> LanePlan:
    """Return the lane on the kind of card of which least has to be bought, then paid."""
    found: list[tuple[float, float, LanePlan]] = []
    faults = []
    for kind in wish.stock:
        try:
            lane = lane_on(wish, name, share, talk, kind, fitted)
        except NoPlan as error:
            faults.append(str(error))
            continue
        price = wish.tariff.card_a_month(lane.served.card)
        found.append((price * max(0, lane.cards - left[kind]), price * lane.cards, lane))
    if not found:
        raise NoPlan("; ".join(faults))
    return min(found, key=lambda x: x[:2])[2]


def lane_on(wish: Wish, name: str, share: float, talk: Talk, kind: str, fitted: Fitted) -> LanePlan:
    """Return a lane on one kind of card, with the fewest cards a replica that do.

    Raises:
        NoPlan: with no number of cards a replica does one session keep the promise.

    """
    talk = talk_for(name, talk)
    if (name, kind) not in fitted:
        fitted[name, kind] = _fitting(wish, name, talk, kind)
    served, held = fitted[name, kind]
    assert held.at is not None
    mine = demand(wish.users, talk, held.at.turn_s).shared(share)
    count = replicas(mine.planned, held.sessions)
    replica = served.replica(talk.context)
    now = load(replica, talk, mine.peak / count)
    # With fewer sessions a turn takes less time, and so fewer are open at once.
    for _ in range(ROUNDS):
        mine = demand(wish.users, talk, now.turn_s).shared(share)
        now = load(replica, talk, mine.peak / count)
    return LanePlan(name, served, mine, held, count, now)


def _fitting(wish: Wish, name: str, talk: Talk, kind: str) -> tuple[Served, Capacity]:
    fault = ""
    cards = 1
    while cards <= MOST_CARDS_A_REPLICA:
        served = serve(wish, name, kind, cards)
        held = capacity(served.replica(talk.context), talk, promise_for(name, wish.promise))
        if held.sessions and served.memory.has_room_for(round(talk.longest)):
            return served, held
        fault = fault or _fault(served, held, talk)
        cards *= 2
    raise NoPlan(f"{name}: {fault}")


def talk_for(name: str, talk: Talk) -> Talk:
    """Return the sessions as this lane sees them."""
    return moved(talk, MOVED) if name == STRONGER else talk


def promise_for(name: str, promise: Promise) -> Promise:
    """Return what this lane has to keep."""
    if name != STRONGER:
        return promise
    return Promise(**{x: bound and PATIENCE * bound for x, bound in promise})


def serve(wish: Wish, name: str, kind: str, cards: int = 1) -> Served:
    """Return the model of a lane on a kind of card."""
    source = wish.models.get(name) or DEFAULTS[name]
    card = wish.cards[kind]
    if name not in wish.models and card.capability < FP8:
        source = IN_4_BITS.get(source, source)
    served = served_on(
        source, find_shape(source)[0], card, kind, cards=cards, profile=wish.profiles.get(name)
    )
    if not wish.kv_8bit:
        served = served.with_kv("bfloat16")
    return served


def _fault(served: Served, held: Capacity, talk: Talk) -> str:
    where = f"{served.source} on one {served.card_name}"
    if not served.memory.has_room_for(round(talk.longest)):
        return (
            f"{where} leaves {max(0, served.memory.pool_tokens):,.0f} tokens of KV, and a "
            f"session grows to {talk.longest:,.0f}"
        )
    if held.wall is Wall.KV:
        return f"{where} has no KV left for one session"
    return f"{where} does not keep the {held.wall} bound for one session: loosen it"
