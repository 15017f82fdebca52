"""The table of triggers, and a row of advice made from one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.advice.capacity_triggers import QUALITY, SESSIONS
from router.advice.judge import State, Verdict
from router.advice.serving_triggers import CARDS, ENGINES, TENANTS
from router.advice.size_triggers import SIZE
from router.advice.trigger import Price, Scope, Severity, Trigger

TRIGGERS: tuple[Trigger, ...] = (
    *ENGINES,
    *CARDS,
    *TENANTS,
    *SESSIONS,
    *QUALITY,
    *SIZE,
)
BY_NAME = {trigger.name: trigger for trigger in TRIGGERS}

FLEET = "fleet"
"""The subject of rows about the deployment as a whole."""

Facts = Mapping[str, Any]
"""What is known of a subject from the configuration, by the names in braces."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What cards cost a month, in whatever currency. The guides: about $700 for an RTX 4090."""

    card: float = 700.0
    larger_card: float = 1000.0
    currency: str = "USD"

    def of(self, price: Price) -> str:
        if price is Price.NOTHING:
            return "nothing"
        cost = self.larger_card if price is Price.LARGER_CARD else self.card
        sign = "-" if price is Price.SAVES_CARD else "+"
        return f"{sign}{cost:g} {self.currency} a month"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a row is about: a lane, or the fleet; `roles` of the lane by `Scope`."""

    name: str
    scopes: frozenset[Scope]
    facts: Facts


def applies(trigger: Trigger, subject: Subject) -> bool:
    """Whether a row is about a subject, and its remedy can be taken there."""
    if trigger.scope not in subject.scopes:
        return False
    return not trigger.needs or bool(subject.facts.get(trigger.needs))


def advice(trigger: Trigger, subject: Subject, verdict: Verdict, prices: Prices) -> dict[str, Any]:
    """Return a row with all columns, as JSON has it."""
    known = _Known(subject.facts)
    value = None if math.isnan(verdict.value) else round(verdict.value, 4)
    return {
        "trigger": trigger.name,
        "subject": subject.name,
        "state": verdict.state.value,
        "severity": trigger.severity.value,
        "signal": trigger.signal,
        "condition": trigger.says,
        "value": value,
        "unit": trigger.unit,
        "limit": trigger.limit,
        "clears_at": trigger.clear,
        "hold_s": trigger.hold_s,
        "since": verdict.since,
        "remedy": trigger.remedy.format_map(known),
        "price": prices.of(trigger.price),
        "undo": trigger.undo.format_map(known),
        "confidence": {
            "coverage": round(verdict.coverage, 3),
            "samples": round(verdict.samples),
            "sure": round(verdict.sure, 3),
        },
        "change": trigger.change.value,
        "expected": None,
        "source": trigger.source,
    }


def is_urgent(row: Mapping[str, Any]) -> bool:
    """Whether a row is a reason for a command to fail: it fires, and somebody will feel it."""
    fires = row.get("state") == State.FIRING.value
    return fires and row.get("severity") != Severity.SAVE.value


class _Known(dict[str, Any]):
    """Facts by name; one that nobody gave stands for itself."""

    def __missing__(self, key: str) -> str:
        return key.upper()
