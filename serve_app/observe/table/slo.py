"""Burn rates of the service level objectives, over windows that belong together.

A burn rate of 1 uses up the error budget in exactly its period. Two windows have to agree,
so that an alert comes soon and ends soon; and there is a least number of bad events, since
a fleet of a few cards has quiet hours in which one bad request of ten is no page.
"""

from __future__ import annotations

from collections.abc import Iterator

from serve_app.observe.table.promql import series
from serve_app.observe.table.rows import Needs, Recording

EVENTS = "pointsman_slo_events_total"
BY = "objective, lane, tier"
WINDOWS = ("5m", "30m", "1h", "6h", "3d")
BUDGETS = {"ttft": 0.05, "first_tokens": 0.05, "answer": 0.05, "failures": 0.001}
"""Share of bad events that each objective allows: three are 95th percentiles.

The guides ask for no failed request at all, which has no burn rate: one in a thousand is
what an alert can tell from bad luck.
"""
LEAST_BAD = {"ttft": 10, "first_tokens": 10, "answer": 10, "failures": 3}
"""Bad events in the longer window without which nobody is called.

Of failed requests fewer are enough: the guides want none.
"""

_BUDGET = "objective:slo_budget:ratio"
_LEAST = "objective:slo_least_bad:count"


def bad_ratio(window: str) -> str:
    """Name of the series with the share of events that were bad."""
    return f"objective:slo_bad:ratio_{window}"


def _bad_count(window: str) -> str:
    return f"objective:slo_bad:count_{window}"


def _counted(window: str, labels: str = "") -> str:
    return f"sum by ({BY}) (increase({series(EVENTS, labels)}[{window}]))"


def _rules() -> Iterator[Recording]:
    for name, share in BUDGETS.items():
        yield Recording(_BUDGET, f"vector({share:g})", {"objective": name})
    for name, count in LEAST_BAD.items():
        yield Recording(_LEAST, f"vector({count})", {"objective": name})
    for window in WINDOWS:
        bad = _counted(window, 'outcome="bad"')
        yield Recording(_bad_count(window), bad, needs=Needs.EVENT)
        ratio = f"{_bad_count(window)} / {_counted(window)}"
        yield Recording(bad_ratio(window), ratio, needs=Needs.EVENT)


SLO_RULES = tuple(_rules())


def burning(times: float, long: str, short: str) -> str:
    """Where the budget burns `times` as fast as it may in both windows, with enough events."""
    limit = f"> on (objective) group_left () ({times:g} * {_BUDGET})"
    over = [f"{bad_ratio(window)} {limit}" for window in (long, short)]
    enough = f"{_bad_count(long)} >= on (objective) group_left () {_LEAST}"
    return " and ".join([*over, enough])
