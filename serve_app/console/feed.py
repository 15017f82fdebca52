"""What the page shows in one second, made of `/metrics`, `/status` and the last requests.

Every figure is a sample of the merged exposition, or a sum of samples, so the page cannot show
another number than Prometheus has. What has no metric (names, reasons, words) comes from
`/status` and from the ingress replicas' memory of their last requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import Any

import orjson

from serve_app.console.exposition import read
from serve_app.tenancy.auth import Tenant

MOST_ROWS = 60
"""Rows of each list in a snapshot, the newest ones."""

MOST_COUNTED = 100

OPEN_STATUS = ("fleet", "ready", "lanes", "escalation", "triggers_firing", "slo")
"""Parts of `/status` that say no more than `/metrics`, which is open on loopback."""


@dataclass(frozen=True)
class Snapshot:
    """One second's figures.

    Attributes:
        at: Unix seconds when they were gathered.
        cpu_s: what reading and putting together took of this process.

    """

    at: float
    figures: Mapping[str, Any]
    status: Mapping[str, Any]
    recent: Mapping[str, Any]
    deployments: Mapping[str, Any]
    cpu_s: float

    @cached_property
    def whole(self) -> bytes:
        """For operators: all of it, as an event."""
        return self._event({"scope": "all", "status": self.status, "recent": self.recent})

    def own(self, tenant: str) -> bytes:
        """For someone at this machine without a key: the metrics, and what is the tenant's."""
        status = {k: self.status[k] for k in OPEN_STATUS if k in self.status}
        near = [x for x in self.status.get("tenants_near_limit", ()) if x["tenant"] == tenant]
        recent = {
            kind: [x for x in self.recent.get(kind, ()) if x["tenant"] == tenant]
            for kind in ("decisions", "refusals", "refused_by")
        }
        status["tenants_near_limit"] = near
        return self._event({"scope": "own", "tenant": tenant, "status": status, "recent": recent})

    def event_for(self, tenant: Tenant) -> bytes:
        return self.whole if tenant.is_admin else self.own(tenant.name)

    def _event(self, parts: Mapping[str, Any]) -> bytes:
        body = {
            "at": self.at,
            "cpu_ms": round(self.cpu_s * 1000, 2),
            "deployments": self.deployments,
            **self.figures,
            **parts,
        }
        # A number that is none is null: a page can read no NaN.
        return event("snapshot", orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS))


def event(name: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data)


def assemble(
    at: float,
    text: str,
    status: Mapping[str, Any],
    recents: Sequence[Mapping[str, Any]],
    deployments: Mapping[str, Any],
    clock: Callable[[], float],
) -> Snapshot:
    """Put a snapshot together and write it out once; `clock` counts this thread's CPU seconds."""
    begun = clock()
    found = read(text)
    figures = {
        "ingresses": sorted(found.ingresses),
        "samples": found.rows(),
        "histograms": found.histograms(),
    }
    snapshot = Snapshot(at, figures, status, merged(recents), deployments, clock() - begun)
    _ = snapshot.whole
    return snapshot


def merged(recents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join what the ingress replicas remember: newest first, counts added up."""
    joined: dict[str, Any] = {
        kind: _newest(x.get(kind, ()) for x in recents)
        for kind in ("decisions", "refusals", "faults", "log")
    }
    counts: dict[tuple[str, str, str], int] = {}
    for row in (row for x in recents for row in x.get("refused_by", ())):
        key = (row["tenant"], row["tier"], row["code"])
        counts[key] = counts.get(key, 0) + row["count"]
    ranked = sorted(counts.items(), key=itemgetter(1), reverse=True)[:MOST_COUNTED]
    joined["refused_by"] = [
        {"tenant": tenant, "tier": tier, "code": code, "count": count}
        for (tenant, tier, code), count in ranked
    ]
    return joined


def _newest(parts: Iterable[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    rows = [row for part in parts for row in part]
    rows.sort(key=itemgetter("time"), reverse=True)
    return rows[:MOST_ROWS]
