"""How many series `/metrics` can have at most, by what the fleet and the tiers are.

A family has at most the product of its labels' values; a histogram has so many times its
buckets, a sum and a count. In use are far fewer: hardly any tier meets every reason and code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from router.errors import RejectReason
from router.types import Reason
from serve_app.metrics.agents import MAX_TOOL_SET_LABELS
from serve_app.metrics.experiments import MAX_EXPERIMENT_LABELS
from serve_app.metrics.metrics import MAX_TENANT_LABELS

CLOSED_SETS = {
    "tenant": MAX_TENANT_LABELS + 1,
    "tool_set": MAX_TOOL_SET_LABELS + 1,
    "experiment": MAX_EXPERIMENT_LABELS + 1,
    "arm": 3,
    # `none` before there is a decision.
    "reason": len(Reason) + 1,
    # With 200, 499, 500 and `broken`.
    "code": len(RejectReason) + 4,
    "stage": 9,
    "outcome": 12,
    "kind": 6,
    "step": 4,
    "limit": 8,
    "mode": 4,
    "sink": 4,
    "cause": 4,
    "trigger": 64,
    "objective": 4,
    "window": 6,
}
"""Labels whose values our own code chooses, and how many those are at most."""


@dataclass(frozen=True, slots=True)
class Family:
    """A metric of an ingress replica; `buckets` of a histogram, `+Inf` included, else 0."""

    name: str
    labels: tuple[str, ...]
    buckets: int = 0


def label_values(lanes: int, tiers: int) -> Mapping[str, int]:
    """Return how many values each label can have in an ingress replica.

    A request that has no lane yet counts under `none`; one that no tier knows has no metric.
    """
    return {**CLOSED_SETS, "lane": lanes + 1, "tier": tiers}


def series_bound(families: Iterable[Family], lanes: int, tiers: int) -> dict[str, int]:
    """Return the most series of each family in one ingress replica.

    Raises:
        KeyError: a label whose values nobody has bounded.

    """
    values = label_values(lanes, tiers)
    return {
        x.name: prod(values[label] for label in x.labels) * (x.buckets + 2 if x.buckets else 1)
        for x in families
    }
