"""A plan as text for a person and as data for a program."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fleet.plan.advice import binding, crossings, next_steps, verdict
from fleet.plan.check import Checked
from fleet.plan.plan import LanePlan, Plan
from fleet.plan.reckoning.money import HOSTED_ON, Hosted
from fleet.plan.what_if import what_ifs

WIDTH = 9
"""Of the first column."""


def as_lines(
    plan: Plan,
    times: float,
    checked: Sequence[Checked],
    hosted: Mapping[str, Hosted],
    *,
    with_what_ifs: bool,
) -> Iterator[str]:
    """Yield the answer: does it hold, the fleet, the wall, the bill, what to do next.

    `times` is how many times the users the stock alone holds.
    """
    yield from _column("answer", [_answer(plan, times)])
    yield from _column("users", [_users(plan)])
    for lane in plan.lanes:
        yield from _column(lane.name, _lane(lane))
    yield from _column("bill", _bill(plan, hosted))
    yield from _column("check", [_check(x) for x in checked])
    yield from _column("next", list(next_steps(plan)))
    if with_what_ifs:
        yield from _column("what if", [_what_if(x.name, x.text, x.bill) for x in what_ifs(plan)])
        yield from _column("rules", list(verdict(plan)))
    if any(lane.served.profile is None for lane in plan.lanes):
        told = "from data sheets; `pointsman simulate fit` measures a card, --profile uses that"
        yield from _column("speed", [told])


def _column(name: str, lines: Sequence[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"{name if not number else '':{WIDTH}}{line}"


def _answer(plan: Plan, times: float) -> str:
    stock = ", ".join(f"{n} {kind}" for kind, n in plan.wish.stock.items() if n)
    if not stock:
        bought: Counter[str] = Counter()
        for lane in plan.lanes:
            bought[lane.served.card_name] += lane.cards
        fleet = ", ".join(f"{count} {kind}" for kind, count in bought.items())
        return f"{plan.cards} cards ({fleet})"
    if plan.short:
        enough = f"enough for {times:.0%} of these users" if times else "too few for any of them"
        return f"no: {stock}: {enough}; it takes {plan.cards} cards"
    return f"yes: {stock} hold it, up to {times:,.2g} times these users"


def _users(plan: Plan) -> str:
    users = plan.wish.users
    who = f"{users.daily_users:,.0f} a day, " if users.daily_users is not None else ""
    burst = sum(lane.demand.burst for lane in plan.lanes)
    calls = f"; {plan.talk.requests} calls a turn" if plan.talk.requests > 1 else ""
    return (
        f"{who}{plan.peak:,.1f} sessions at once in the busiest hour, {burst:,.1f} in a burst; "
        f"{users.headroom:.0%} room for growth{calls}"
    )


def _lane(lane: LanePlan) -> list[str]:
    walls = sorted(lane.capacity.walls.items(), key=lambda x: x[1])
    (first, held), *others = walls
    later = ", ".join(f"{wall} at {n:,}" for wall, n in others)
    come = lane.demand.peak / lane.replicas
    return [
        f"{lane.cards} {lane.served.card_name}, {lane.served.source}",
        f"{first} binds first, at {held:,} sessions a replica ({later}); {come:,.1f} come",
    ]


def _bill(plan: Plan, hosted: Mapping[str, Hosted]) -> list[str]:
    paid = "rent" if plan.wish.tariff.months is None else "written off, with power"
    lines = [f"{plan.bill:,.0f} USD a month ({paid})"]
    found = crossings(plan, hosted)
    lines += [
        "hosted, for the same tokens: " + ", ".join(f"{x.model} {x.bill:,.0f}" for x in found)
    ]
    if binding(plan, hosted) == "cost":
        lines += ["cost binds: every one of these is cheaper at this volume"]
    return lines


def _check(x: Checked) -> str:
    seen = ", ".join(f"{name} {value:.2f}" for name, value in x.seen.items())
    kept = f"BROKEN ({', '.join(x.broken)})" if x.broken else "kept"
    lane = x.lane if x.lane != "-" else "no lane"
    refused = f", {x.refused} of {x.requests:,} refused" if x.refused else ""
    return f"{x.when}, {lane}, {x.tier} tier of {x.sessions:,} sessions: {kept}{refused}; {seen}"


def _what_if(name: str, text: str, bill: float | None) -> str:
    return f"{name}: {text}" + (f"; {bill:,.0f} USD a month" if bill is not None else "")


def as_data(
    plan: Plan, times: float, checked: Sequence[Checked], hosted: Mapping[str, Hosted]
) -> dict[str, Any]:
    """Return all of it, by names with their units."""
    return {
        "holds": not plan.short,
        "times_the_users": times,
        "lanes": [_lane_data(plan, lane) for lane in plan.lanes],
        "cards": plan.cards,
        "short": dict(plan.short),
        "spare": dict(plan.spare),
        "bill_usd_per_month": plan.bill,
        "tokens_per_month": plan.tokens_a_month,
        "new_tokens_per_month": plan.new_tokens_a_month,
        "calls_per_turn": plan.talk.requests,
        "wall": binding(plan, hosted),
        "hosted": [asdict(x) for x in crossings(plan, hosted)],
        "hosted_on": HOSTED_ON.isoformat(),
        "check": [asdict(x) for x in checked],
        "what_if": [asdict(x) for x in what_ifs(plan)],
        "next": list(next_steps(plan)),
        "rules": list(verdict(plan)),
    }


def _lane_data(plan: Plan, lane: LanePlan) -> dict[str, Any]:
    memory = lane.served.memory
    return {
        "lane": lane.name,
        "model": lane.served.source,
        "card": lane.served.card_name,
        "replicas": lane.replicas,
        "cards": lane.cards,
        "sessions": lane.capacity.sessions,
        "walls": dict(lane.capacity.walls),
        "demand": asdict(lane.demand),
        "busiest_hour": asdict(lane.now),
        "weights_bytes_per_card": memory.weights,
        "kv_bytes_per_token": memory.kv_per_token,
        "kv_tokens": memory.pool_tokens,
        "num_gpu_blocks": lane.served.num_gpu_blocks,
        "max_num_seqs": plan.slots(lane),
        "tokens_per_month": lane.tokens_a_month,
        "bill_usd_per_month": plan.bill_of(lane),
        "speed": "measured" if lane.served.profile is not None else "data sheet",
    }
