"""Statements that count: versions that readers ask by, and usage that is added up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pg8000.native import Connection

from serve_app.tenancy.store import Counts, Slot


def version_of(db: Connection, name: str) -> int:
    return int(db.run("SELECT value FROM versions WHERE name = :name", name=name)[0][0])


def bump(db: Connection, name: str) -> int:
    """Count up; others that want to wait until this transaction has ended."""
    rows = db.run(
        "UPDATE versions SET value = value + 1 WHERE name = :name RETURNING value", name=name
    )
    return int(rows[0][0])


_ADD_USAGE = """
INSERT INTO usage SELECT * FROM unnest(
    CAST(:days AS text[]), CAST(:tenants AS text[]), CAST(:lanes AS text[]),
    CAST(:requests AS bigint[]), CAST(:prompts AS bigint[]), CAST(:cached AS bigint[]),
    CAST(:completions AS bigint[]))
ON CONFLICT (day, tenant, lane) DO UPDATE SET
    requests = usage.requests + excluded.requests,
    prompt = usage.prompt + excluded.prompt,
    cached = usage.cached + excluded.cached,
    completion = usage.completion + excluded.completion
"""

_ADD_TOTALS = """
INSERT INTO totals SELECT *, CAST(:version AS bigint) FROM unnest(
    CAST(:periods AS text[]), CAST(:tenants AS text[]),
    CAST(:requests AS bigint[]), CAST(:prompts AS bigint[]), CAST(:cached AS bigint[]),
    CAST(:completions AS bigint[]))
ON CONFLICT (period, tenant) DO UPDATE SET
    requests = totals.requests + excluded.requests,
    prompt = totals.prompt + excluded.prompt,
    cached = totals.cached + excluded.cached,
    completion = totals.completion + excluded.completion,
    version = excluded.version
"""


def add_usage(db: Connection, given: Iterable[tuple[Slot, Counts]]) -> None:
    """Add counts to days and to what quotas ask for; each place once, as Postgres demands."""
    usage: dict[Slot, Counts] = {}
    totals: dict[tuple[str, str], Counts] = {}
    for slot, counts in given:
        usage[slot] = usage.get(slot, Counts()).plus(counts)
        for period in (slot.day, slot.day[:7]):
            key = (period, slot.tenant)
            totals[key] = totals.get(key, Counts()).plus(counts)
    if not usage:
        return
    version = bump(db, "usage")
    db.run(_ADD_USAGE, **slots(list(usage)), **_counts(list(usage.values())))
    db.run(
        _ADD_TOTALS,
        periods=[period for period, _ in totals],
        tenants=[tenant for _, tenant in totals],
        version=version,
        **_counts(list(totals.values())),
    )


def slots(slots: list[Slot]) -> dict[str, list[Any]]:
    return {
        "days": [x.day for x in slots],
        "tenants": [x.tenant for x in slots],
        "lanes": [x.lane for x in slots],
    }


def _counts(counts: list[Counts]) -> dict[str, list[Any]]:
    return {
        "requests": [x.requests for x in counts],
        "prompts": [x.prompt for x in counts],
        "cached": [x.cached for x in counts],
        "completions": [x.completion for x in counts],
    }
