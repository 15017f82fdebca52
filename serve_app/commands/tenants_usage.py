"""`pointsman tenants usage`: what tenants used, from the store or a running deployment."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

from serve_app.commands.client import CommandError, request_bytes, subparser
from serve_app.commands.named_files import named_fleet
from serve_app.config.settings import (
    load_fleet,
    load_tenants,
    tenancy_path,
    tenants_path,
    usage_folder,
)
from serve_app.config.tenants import TenantsConfig
from serve_app.tenancy.store import Counts, Slot, StoreError, TenancyStore
from serve_app.tenancy.stores import open_store
from serve_app.tenancy.usage_log import recover_dead

GROUPS: dict[str, Callable[[Slot], tuple[str, ...]]] = {
    "tenant": lambda slot: (slot.tenant,),
    "day": lambda slot: (slot.day, slot.tenant),
    "lane": lambda slot: (slot.tenant, slot.lane),
}


def add_usage(actions: Any) -> argparse.ArgumentParser:
    parser = subparser(
        actions,
        "usage",
        "Requests and tokens of each tenant, this month unless told (UTC).",
        "pointsman tenants usage --since 2026-03-01 --by day",
        remote=False,
    )
    add = parser.add_argument
    add("--since", type=_day, metavar="DAY", help="first day (default: the month's first)")
    add("--until", type=_day, metavar="DAY", help="last day (default: today)")
    add("--tenant", metavar="NAME", help="this tenant only")
    add("--by", choices=sorted(GROUPS), default="tenant", help="a line for each (default: tenant)")
    add("--fleet", default="auto", help="fleet file or name with the prices (default: auto)")
    add("--url", help="ask a running deployment what it counted since it started, instead")
    add("--key", default=os.environ.get("POINTSMAN_API_KEY"), help="admin key for --url")
    parser.set_defaults(func=_usage)
    return parser


def _day(text: str) -> str:
    return date.fromisoformat(text).isoformat()


def _usage(args: argparse.Namespace) -> int:
    if args.url:
        return _live(args)
    prices = load_fleet(named_fleet(args.fleet)).prices
    today = datetime.now(UTC).date()
    until = args.until or today.isoformat()
    found = _read(args, args.since or f"{until[:7]}-01", until)
    rows: dict[tuple[str, ...], Counts] = {}
    costs: dict[tuple[str, ...], float] = {}
    for slot, counts in found.items():
        if args.tenant in (None, slot.tenant):
            group = GROUPS[args.by](slot)
            rows[group] = rows.get(group, Counts()).plus(counts)
            cost = prices.cost(slot.lane, counts.prompt, counts.cached, counts.completion)
            costs[group] = costs.get(group, 0.0) + cost
    if not prices.lanes:
        costs = {}
    if args.json:
        print(json.dumps(_nested(rows, costs)))
        return 0
    for group, counts in sorted(rows.items()):
        figures = "  ".join(f"{kind} {n:,}" for kind, n in counts._asdict().items())
        if group in costs:
            figures += f"  cost {costs[group]:,.2f} {prices.currency}"
        print(f"{' '.join(f'{part:<16}' for part in group)} {figures}")
    return 0


def _nested(
    rows: dict[tuple[str, ...], Counts], costs: dict[tuple[str, ...], float]
) -> dict[str, Any]:
    """Group by group: {"acme": {...}}, or {"2026-03-01": {"acme": {...}}}."""
    nested: dict[str, Any] = {}
    for group, counts in sorted(rows.items()):
        at = nested
        for part in group[:-1]:
            at = at.setdefault(part, {})
        at[group[-1]] = counts._asdict()
        if group in costs:
            at[group[-1]]["cost"] = round(costs[group], 6)
    return nested


def _read(args: argparse.Namespace, first: str, last: str) -> dict[Slot, Counts]:
    with opened(load_tenants(args.file or tenants_path())) as store:
        # What a killed ingress left is added now, not only when the next one starts.
        recover_dead(store, usage_folder(store.path))
        return store.usage(first, last)


@contextlib.contextmanager
def opened(tenants: TenantsConfig) -> Iterator[TenancyStore]:
    """The tenancy store, until the command is done with it; CommandError with its path."""
    store = open_store(tenants.store, tenancy_path(tenants))
    try:
        yield store
    except (sqlite3.Error, StoreError) as error:
        raise CommandError(f"{store.place}: {error}") from error
    finally:
        store.close()


_SAMPLE = re.compile(
    r"^pointsman_(?:tokens|(?P<cost>cost))_total\{"
    r'(?=(?:[^}]*kind="(?P<kind>\w+)")?)(?=[^}]*tenant="(?P<tenant>[^"]*)")[^}]*\} (?P<value>\S+)$',
    re.MULTILINE,
)


def _live(args: argparse.Namespace) -> int:
    totals: dict[str, dict[str, float]] = {}
    text = request_bytes(args, "GET", "/metrics", operates=True).decode()
    for match in _SAMPLE.finditer(text):
        row = totals.setdefault(match["tenant"], {})
        kind = match["cost"] or match["kind"]
        value = float(match["value"])
        row[kind] = row.get(kind, 0) + (value if kind == "cost" else int(value))
    if args.json:
        print(json.dumps(totals))
        return 0
    for tenant, row in sorted(totals.items()):
        figures = "  ".join(f"{kind} {figure:,}" for kind, figure in sorted(row.items()))
        print(f"{tenant:<24} {figures}")
    return 0
