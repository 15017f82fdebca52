"""Service level objectives in the fleet file (docs/slo.md)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from router.slo.objectives import DAY_S, Override, SloPolicy, Targets
from serve_app.config.errors import StrictModel, nearest

MAX_FAILURES_RATIO = 0.05
"""Under one over the fastest burn rate: with more, no share of failures would page anybody."""

NO_BUDGET = (
    "is no error budget: the first failure would spend it for ever. State a small one, such as "
    "0.001 (one request of a thousand), or null to switch the objective off"
)


class TargetsConfig(StrictModel):
    """Objectives of a lane or a tier. What is not given is as elsewhere; null: it is off.

    Attributes:
        ttft_p95_s: 95 % of streams have their first token in this time.
        first_tokens_p95_s: 95 % of streams of 30 tokens or more have 30 in this time.
        answer_p95_s: 95 % of answers are whole in this time.
        failures_ratio: share of requests that may fail.
        answer_tokens: answers of more tokens are not judged by `answer_p95_s`; null: all are.

    """

    ttft_p95_s: float | None = Field(None, gt=0, le=3600)
    first_tokens_p95_s: float | None = Field(None, gt=0, le=3600)
    answer_p95_s: float | None = Field(None, gt=0, le=3600)
    failures_ratio: float | None = Field(None, ge=0.00001, le=MAX_FAILURES_RATIO)
    answer_tokens: int | None = Field(None, ge=1)

    @field_validator("failures_ratio", mode="before")
    @classmethod
    def _is_a_budget(cls, value: Any) -> Any:
        if value == 0 and not isinstance(value, bool):
            raise ValueError(NO_BUDGET)
        return value

    @property
    def given(self) -> Override:
        """What stands in the file."""
        names = self.model_fields_set & TargetsConfig.model_fields.keys()
        return {name: getattr(self, name) for name in names}


class LaneSloConfig(TargetsConfig):
    """Objectives of a lane, and of single tiers in it.

    Attributes:
        tiers: they go before the tier's own elsewhere, which go before the lane's.

    """

    tiers: dict[str, TargetsConfig] = Field(default_factory=dict)


class SloConfig(TargetsConfig):
    """What the deployment promises. The figures are those of the chatbot guide's workload.

    Attributes:
        lanes, tiers: where it is something else. A tier's word goes before a lane's.
        period_days: of the error budget.
        min_bad_events: with fewer in a window nothing burns: quiet hours page nobody.

    """

    ttft_p95_s: float | None = Field(0.8, gt=0, le=3600)
    first_tokens_p95_s: float | None = Field(1.2, gt=0, le=3600)
    answer_p95_s: float | None = Field(4.5, gt=0, le=3600)
    failures_ratio: float | None = Field(0.001, ge=0.00001, le=MAX_FAILURES_RATIO)
    lanes: dict[str, LaneSloConfig] = Field(default_factory=dict)
    tiers: dict[str, TargetsConfig] = Field(default_factory=dict)
    period_days: int = Field(28, ge=3, le=31)
    min_bad_events: int = Field(5, ge=1)

    @model_validator(mode="after")
    def _times_do_not_fall(self) -> Self:
        """What comes later may not be promised earlier: it would never be kept."""
        policy = self.policy()
        places = [("", "", "")]
        places += [(f"lanes.{lane}.", lane, "") for lane in self.lanes]
        places += [(f"tiers.{tier}.", "", tier) for tier in self.tiers]
        places += [
            (f"lanes.{lane}.tiers.{tier}.", lane, tier)
            for lane, config in self.lanes.items()
            for tier in config.tiers
        ]
        for where, lane, tier in places:
            fault = _falling(policy.of(lane, tier))
            if fault is not None:
                raise ValueError(f"{where}{fault}")
        return self

    def policy(self) -> SloPolicy:
        """Return the objectives as requests are judged by them."""
        base = {name: getattr(self, name) for name in TargetsConfig.model_fields}
        return SloPolicy(
            Targets(**base),
            lanes={lane: config.given for lane, config in self.lanes.items()},
            tiers={tier: config.given for tier, config in self.tiers.items()},
            lane_tiers={
                (lane, tier): targets.given
                for lane, config in self.lanes.items()
                for tier, targets in config.tiers.items()
            },
            period_s=self.period_days * DAY_S,
            min_bad_events=self.min_bad_events,
        )

    def refuse_unknown_lanes(self, known: Iterable[str]) -> None:
        """Raise ValueError for a lane that the fleet does not have."""
        lanes = set(known)
        for lane in self.lanes:
            if lane not in lanes:
                raise ValueError(f"slo.lanes: no lane '{lane}'{nearest(lane, lanes)}")

    def idle_tiers(self, known: Iterable[str]) -> list[str]:
        """Return a warning for each tier that the tenants file does not have."""
        tiers = set(known)
        named = [(f"slo.tiers.{tier}", tier) for tier in self.tiers]
        named += [
            (f"slo.lanes.{lane}.tiers.{tier}", tier)
            for lane, config in self.lanes.items()
            for tier in config.tiers
        ]
        return [
            f"{where} has no effect: the tenants file has no such tier{nearest(tier, tiers)}"
            for where, tier in named
            if tier not in tiers
        ]


def _falling(targets: Targets) -> str | None:
    """Return which limit is under one that comes before it."""
    times = [
        ("ttft_p95_s", targets.ttft_p95_s),
        ("first_tokens_p95_s", targets.first_tokens_p95_s),
        ("answer_p95_s", targets.answer_p95_s),
    ]
    given = [(name, limit) for name, limit in times if limit is not None]
    for (first, early), (second, late) in itertools.pairwise(given):
        if late < early:
            return f"{second} ({late:g}) is under {first} ({early:g}): it could never be kept"
    return None
