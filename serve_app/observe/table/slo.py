"""Burn rates of the service level objectives, over windows that belong together.

A burn rate of 1 uses up the error budget in exactly its period. Two windows have to agree,
so that an alert comes soon and ends soon; and there is a least number of bad events, since
a fleet of a few cards has quiet hours in which one bad request of ten is no page.
"""

from __future__ import annotations

from collections.abc import Iterator

from serve_app.observe.table.promql import series
from serve_app.observe.table.rows import Recording

EVENTS = "pointsman_slo_events_total"
BY = "objective, lane, tier"
WINDOWS = ("5m", "30m", "1h", "6h", "3d")
P95 = 0.05
"""Share of bad events that the objectives of times allow: they are 95th percentiles.

What may fail is `failures_ratio` of the fleet file's `slo`, told by `pointsman_slo_target`.
"""

LEAST_BAD = 5
"""Bad events in the longer window without which nobody is called: `slo.min_bad_events`."""

_TARGET = "pointsman_slo_target"
_BUDGET = "objective:slo_budget:ratio"


def bad_ratio(window: str) -> str:
    """Name of the series with the share of events that were bad."""
    return f"objective:slo_bad:ratio_{window}"


def _bad_count(window: str) -> str:
    return f"objective:slo_bad:count_{window}"


def _counted(window: str, labels: str = "") -> str:
    return f"sum by ({BY}) (increase({series(EVENTS, labels)}[{window}]))"


def _rules() -> Iterator[Recording]:
    failures = f'max by ({BY}) ({_TARGET}{{objective="failures"}})'
    times = f'{P95:g} * group by ({BY}) ({_TARGET}{{objective!="failures"}})'
    yield Recording(_BUDGET, f"{failures} or {times}")
    for window in WINDOWS:
        bad = _counted(window, 'outcome="bad"')
        yield Recording(_bad_count(window), bad)
        yield Recording(bad_ratio(window), f"{_bad_count(window)} / {_counted(window)}")


SLO_RULES = tuple(_rules())


def burning(times: float, long: str, short: str) -> str:
    """Where the budget burns `times` as fast as it may in both windows, with enough events."""
    over = [f"{bad_ratio(window)} >= {times:g} * {_BUDGET}" for window in (long, short)]
    return " and ".join([*over, f"{_bad_count(long)} >= {LEAST_BAD}"])
