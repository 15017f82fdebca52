"""Families that panels and alerts use and no object of this version exports yet.

A test refuses a row whose family is exported: it is then to be deleted here, and the panels
that ask for it need traffic instead of an event.
"""

from __future__ import annotations

from typing import cast

from serve_app.observe.exported import Family, Kind

_CARD = ("card",)

ANNOUNCED = tuple(
    Family(f"pointsman_{name}", cast(Kind, kind), means, labels, buckets)
    for name, kind, means, labels, buckets in (
        ("engine_stalled", "gauge", "1: requests wait and none is admitted.", (), 1),
        ("card_power_watts", "gauge", "Power that the card draws.", _CARD, 1),
        ("card_power_limit_watts", "gauge", "Power that it may draw.", _CARD, 1),
        ("card_temperature_celsius", "gauge", "Temperature of the card.", _CARD, 1),
        ("card_sm_clock_hertz", "gauge", "Clock of the processors.", _CARD, 1),
        ("card_memory_clock_hertz", "gauge", "Clock of the memory.", _CARD, 1),
        ("card_memory_used_bytes", "gauge", "Memory in use.", _CARD, 1),
        ("card_memory_total_bytes", "gauge", "Memory of the card.", _CARD, 1),
        ("card_utilization_ratio", "gauge", "Share of time with work.", _CARD, 1),
        ("card_fan_ratio", "gauge", "Speed of the fan.", _CARD, 1),
        ("card_throttled", "gauge", "1: throttled for this reason.", ("card", "reason"), 1),
        (
            "first_tokens_seconds",
            "histogram",
            "Request received to its first 30 tokens passed on.",
            ("lane", "tier"),
            14,
        ),
        (
            "slo_events",
            "counter",
            "Requests judged by an objective.",
            ("objective", "lane", "tier", "outcome"),
            1,
        ),
        (
            "slo_burn_rate",
            "gauge",
            "How fast an error budget is used up; 1 lasts its period.",
            ("objective", "lane", "tier", "window"),
            1,
        ),
        (
            "slo_budget_left_ratio",
            "gauge",
            "Share of an error budget that is left.",
            ("objective", "lane", "tier"),
            1,
        ),
        (
            "slo_target",
            "gauge",
            "What the fleet file promises: seconds, or the share of requests that may fail.",
            ("objective", "lane", "tier"),
            1,
        ),
        ("turn_seconds", "histogram", "A user's turn, tools included.", ("lane", "tier"), 12),
    )
)
