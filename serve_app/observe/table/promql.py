"""Pieces of queries that come up more than once."""

from __future__ import annotations

JOB = "pointsman"
"""Of the scrape configuration: its label `job` on every series."""

INTERVAL = "$__rate_interval"
"""Grafana's: at least four scrapes, and as long as the panel's resolution asks for."""


def series(metric: str, labels: str = "") -> str:
    """Return the metric's series, or those with these labels."""
    return f"{metric}{{{labels}}}" if labels else metric


def per_second(counter: str, by: str, labels: str = "") -> str:
    """Events of a counter per second, as a panel shows them."""
    return f"sum by ({by}) (rate({series(counter, labels)}[{INTERVAL}]))"


def quantile(share: float, metric: str, by: str, window: str, labels: str = "") -> str:
    """A quantile of a histogram over all its series, one for each combination of `by`."""
    buckets = series(f"{metric}_bucket", labels)
    return f"histogram_quantile({share:g}, sum by ({by}, le) (rate({buckets}[{window}])))"


def mean(metric: str, by: str, window: str, labels: str = "") -> str:
    """The mean of a histogram, one for each combination of `by`."""
    total, count = (series(f"{metric}_{part}", labels) for part in ("sum", "count"))
    return f"sum by ({by}) (rate({total}[{window}])) / sum by ({by}) (rate({count}[{window}]))"


def happened(counter: str, window: str, by: str = "") -> str:
    """How often something happened; the first time counts, too.

    A series that begins at 1 has risen by nothing for `increase`, so one that was not there
    a window ago counts with what it says, if the deployment was watched then.
    """
    watched = f'on () group (up{{job="{JOB}"}} offset {window})'
    begun = f"({counter} unless {counter} offset {window}) and {watched}"
    total = f"sum by ({by})" if by else "sum"
    # Rounded: `increase` reckons a little more than what was between the window's scrapes.
    return f"round({total} (increase({counter}[{window}]) > 0 or ({begun})))"


def many(histogram: str, by: str, window: str, least: int) -> str:
    """Where a histogram has at least so many observations in the window."""
    return f"sum by ({by}) (increase({histogram}_count[{window}])) >= {least}"
