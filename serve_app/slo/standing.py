"""How a deployment stands with its objectives: the events of all ingress replicas, told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from router.slo.burning import Assessment, Verdict, assess
from router.slo.objectives import Objective, SloPolicy
from router.slo.windows import NONE, PERIOD, Tally, summed

Row = dict[str, Any]
"""One objective of one lane and tier, as `/status` tells it."""

GAUGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "pointsman_slo_burn_rate": (
        "Share of bad events over the share that is allowed, of all ingress replicas.",
        ("objective", "lane", "tier", "window"),
    ),
    "pointsman_slo_budget_left_ratio": (
        "Part of the period's error budget that is left; absent while it is less than one event.",
        ("objective", "lane", "tier"),
    ),
    "pointsman_slo_target": (
        "What the fleet file promises: seconds, or the share of requests that may fail.",
        ("objective", "lane", "tier"),
    ),
}
"""Metrics of the deployment as a whole, by name: what they are, and their labels."""

_ORDER = {Verdict.BURNING: 0, Verdict.TOO_FEW: 1, Verdict.OK: 2}


def rows_of(exports: Iterable[Any], policy: SloPolicy | None) -> list[Row]:
    """Sum what the ingress replicas counted, and judge it; what burns comes first.

    `exports` are `SloBook.export`s; what is none is passed over.
    """
    if policy is None:
        return []
    found = [_row(key, windows, policy) for key, windows in _by_series(exports).items()]
    rows = [row for row in found if row is not None]
    return sorted(rows, key=lambda x: (_ORDER[x["verdict"]], x["lane"], x["tier"]))


def _by_series(exports: Iterable[Any]) -> dict[tuple[Objective, str, str], dict[str, Tally]]:
    parts: dict[tuple[Objective, str, str], list[dict[str, Tally]]] = {}
    for export in exports:
        for series in export if isinstance(export, list) else ():
            key = Objective(series["objective"]), series["lane"], series["tier"]
            windows = {name: Tally(*counts) for name, counts in series["windows"].items()}
            parts.setdefault(key, []).append(windows)
    return {key: summed(windows) for key, windows in parts.items()}


def _row(
    key: tuple[Objective, str, str], windows: Mapping[str, Tally], policy: SloPolicy
) -> Row | None:
    """Tell of one series; None: nothing is promised (any more), or all of it is long ago."""
    objective, lane, tier = key
    targets, period = policy.of(lane, tier), windows.get(PERIOD, NONE)
    allowed = targets.allowed_ratio(objective)
    if allowed is None or not period.total:
        return None
    found = assess(windows, allowed, policy.min_bad_events)
    return {
        "objective": objective.value,
        "lane": lane,
        "tier": tier,
        "target": targets.target(objective),
        "allowed_bad_ratio": allowed,
        "verdict": found.verdict.value,
        "severity": found.rule.severity.value if found.rule else None,
        "good": period.good,
        "bad": period.bad,
        "burn_rates": {name: round(rate, 3) for name, rate in found.burn_rates.items()},
        "budget_left_ratio": _rounded(found.budget_left_ratio),
        "why": _why(objective, targets.target(objective), windows, found),
    }


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 4)


_SPOKEN = {"5m": "5 minutes", "30m": "30 minutes", "1h": "hour", "6h": "6 hours", "3d": "3 days"}

_MISSED = {
    Objective.TTFT: "had no token within {:g} s",
    Objective.FIRST_TOKENS: "did not have 30 tokens within {:g} s",
    Objective.ANSWER: "were not whole within {:g} s",
    Objective.FAILURES: "failed",
}


def _why(
    objective: Objective, target: float | None, windows: Mapping[str, Tally], found: Assessment
) -> str | None:
    """Say in a sentence what burns; None: nothing does."""
    if found.rule is None:
        return None
    rule, tally = found.rule, windows[found.rule.long]
    missed = _MISSED[objective].format(target)
    share = f"{tally.bad} of {tally.total} requests of the last {_SPOKEN[rule.long]} {missed}"
    return f"{share}, {found.burn_rates[rule.long]:.3g} times what the budget allows"


def warnings_of(rows: Iterable[Row]) -> list[str]:
    """Return a sentence for each objective that burns."""
    return [
        f"slo: {row['objective']} of lane {row['lane']}, tier {row['tier']} burns "
        f"({row['severity']}): {row['why']} (docs/slo.md)"
        for row in rows
        if row["why"] is not None
    ]


def gauges_text(rows: Iterable[Row]) -> str:
    """Return the Prometheus text of `GAUGES`; they carry no `ingress`: they are of all of them."""
    told = list(rows)
    if not told:
        return ""
    return generate_latest(_Gauges(told)).decode()


class _Gauges(Collector):
    """The families of `GAUGES`, made of rows."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows

    def collect(self) -> Iterable[GaugeMetricFamily]:
        families = {
            name: GaugeMetricFamily(name, text, labels=labels)
            for name, (text, labels) in GAUGES.items()
        }
        burn, left, target = families.values()
        for row in self._rows:
            labels = [row["objective"], row["lane"], row["tier"]]
            target.add_metric(labels, row["target"])
            for window, rate in row["burn_rates"].items():
                burn.add_metric([*labels, window], rate)
            if row["budget_left_ratio"] is not None:
                left.add_metric(labels, row["budget_left_ratio"])
        return families.values()
