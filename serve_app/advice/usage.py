"""Signals of what tenants used by day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from router.advice.table import FLEET
from serve_app.advice.signals import Values
from serve_app.tenancy.store import Counts, Slot

MONTH_DAYS = 30
LEAST_MONTH_DAYS = 3


def usage_signals(used: Mapping[Slot, Counts], yesterday: str, cards: int) -> Values:
    """Make points of what tenants used by day: a month's tokens a card, a day's largest tenant.

    A shorter history is taken as it is by the day, from three days on.
    """
    days = {slot.day for slot in used}
    values: Values = {}
    if len(days) >= LEAST_MONTH_DAYS:
        tokens = sum(x.prompt + x.completion for x in used.values())
        # The first day may be one on which nobody asked.
        covered = (_ordinal(yesterday) - _ordinal(min(days))) + 1
        month = tokens / covered * MONTH_DAYS / max(1, cards)
        values["tokens_a_month", FLEET] = month, 1.0
    tenants: dict[str, int] = {}
    for slot, counts in used.items():
        if slot.day == yesterday:
            tenants[slot.tenant] = tenants.get(slot.tenant, 0) + counts.requests
    if tenants:
        values["tenant_requests_a_day", FLEET] = float(max(tenants.values())), 1.0
    return values


def _ordinal(day: str) -> int:
    return datetime.fromisoformat(day).toordinal()
