"""The page's file: facts from the tables of cards and models, formulas in JavaScript."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from fleet.plan.plan import DEFAULTS, LLAMA, MOST_CARDS_A_REPLICA, Plan, Wish, serve, shares
from fleet.plan.reckoning.engine import BLOCK, Served, narrow_kv
from fleet.plan.reckoning.load import Talk
from simulator.model.profile import Timing

HERE = Path(__file__).parent
SIZES = (1, 2, 4, MOST_CARDS_A_REPLICA)
CHOICES = (LLAMA, "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4")
"""Models to choose from for the first lane, beside the plan's own."""


def page(plan: Plan) -> str:
    """Return one HTML file that needs nothing else."""
    html = (HERE / "page.html").read_text()
    # Nothing in the facts may end the script that holds them.
    facts = json.dumps(page_facts(plan)).replace("</", "<\\/")
    for mark, text in (
        ("/*style*/", (HERE / "style.css").read_text()),
        ("/*reckon*/", (HERE / "reckon.js").read_text()),
        ("/*view*/", (HERE / "view.js").read_text()),
        ("/*facts*/", facts),
    ):
        html = html.replace(mark, text)
    return html


def page_facts(plan: Plan) -> dict[str, Any]:
    """Return the state that the page begins with, and every engine that it may show."""
    wish = plan.wish
    first = plan.lanes[0]
    lanes = [
        {"name": name, "share": share, "model": wish.models.get(name) or DEFAULTS[name]}
        for name, share in _shares(wish).items()
    ]
    models = dict.fromkeys([*(str(lane["model"]) for lane in lanes), *CHOICES])
    return {
        "name": wish.workload.name,
        "workload": wish.workload.model_dump(exclude={"users", "promise", "source"}),
        "users": wish.users.model_dump(),
        "promise": wish.promise.model_dump(),
        "lanes": lanes,
        "engines": {
            source: {kind: _engines(wish, source, kind, plan.talk) for kind in wish.cards}
            for source in models
        },
        "card": first.served.card_name,
        "kv_8bit": wish.kv_8bit,
        "autoscale": False,
        "rent_per_h": wish.tariff.card_a_month(first.served.card) / 720,
        "rents": {kind: card.rent_usd_per_h for kind, card in wish.cards.items()},
    }


def _shares(wish: Wish) -> dict[str, float]:
    """The lanes, and one for the free tier where there is none yet: its slider is at 0."""
    found = shares(wish.workload, wish.users)
    return found if "agent" in found else {**found, "free": found.get("free", 0.0)}


def _engines(wish: Wish, source: str, kind: str, talk: Talk) -> dict[str, list[dict[str, Any]]]:
    """One engine a number of cards, with 16 and with 8 bits of KV."""
    actual = {lane: wish.models.get(lane) or model for lane, model in DEFAULTS.items()}
    name = next((lane for lane, model in actual.items() if model == source), None)
    if name is None:
        name, wish = "chat", replace(wish, models={"chat": source}, profiles={})
    sizes = [serve(wish, name, kind, cards) for cards in SIZES]
    narrow = narrow_kv(sizes[0].shape, sizes[0].card)
    return {
        of: [_engine(served.with_kv(of_kv), talk) for served in sizes]
        for of, of_kv in (("16bit", "bfloat16"), ("8bit", narrow))
    }


def _engine(served: Served, talk: Talk) -> dict[str, Any]:
    replica = served.replica(talk.context)
    blocks = math.ceil(round(talk.context) / BLOCK) * BLOCK
    return {
        "cards": replica.cards,
        # Of sessions of whole blocks; those of sliding windows as at this context.
        "pool_tokens": replica.pool_tokens / talk.context * blocks,
        "overhead_s": replica.overhead_s,
        "step": _step(served.timing),
    }


def _step(timing: Timing) -> dict[str, Any]:
    if timing.step is None:
        data = timing.model_dump(exclude={"step", "request_overhead_ms", "warm_up_s"})
        return data | {"decode_step_ms": list(timing.decode_step_ms.items())}
    data = timing.step.model_dump()
    return data | {"linear_ms": _corners(list(timing.step.linear_ms.items()))}


def _corners(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Points without those that lie on the line between their neighbours."""
    kept = points[:1]
    for now, after in pairwise(points[1:]):
        at, ms = kept[-1]
        rise = (after[1] - ms) / (after[0] - at)
        if abs(ms + rise * (now[0] - at) - now[1]) > 1e-9 * now[1]:
            kept.append(now)
    return [*kept, *points[1:][-1:]]
