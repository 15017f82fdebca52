"""`experiments:` of the fleet file: what is compared, on whom, and what stops it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from evals.experiments.sequential import least_outcomes
from router.experiments.experiment import Experiment, Kind
from router.experiments.guard import Rails
from router.experiments.slowness import ANSWER, TTFT
from router.slo.objectives import Objective, Targets
from serve_app.config.errors import StrictModel
from serve_app.config.slo import TargetsConfig

MAX_EXPERIMENTS = 16
DAY_S = 86_400.0
MINUTE_S = 60.0

_METRICS = {"switchback": "thumbs", "shadow": "judge"}
"""What decides where the file does not say; of other kinds it is preferences."""

_OF_KINDS: Mapping[str, tuple[str, ...]] = {
    "block_minutes": ("switchback",),
    "washout_minutes": ("switchback",),
    "at_once": ("shadow",),
    "within_s": ("shadow",),
    "guard": ("ab", "switchback"),
}
"""Settings that only some kinds have: a shadow is of no user, so there is nothing to guard."""


class GuardConfig(TargetsConfig):
    """What the treatment may not do: it is stopped once it is established that it does.

    Objectives that are not given are those of `slo:`, where there is one; null: that one is
    off.

    Attributes:
        cost_ratio: most of a request's mean cost, in multiples of the control's (`prices:`);
            null: whatever it costs.
        ttft_p95_ratio: most of its 95th percentile of the time to the first token, in multiples
            of the control's of the same day; `answer_p95_ratio`: of that to the end of the
            answer; null: whatever the control has.
        error: chance that a treatment which keeps within one rail is ever stopped by it.
        min_bad_events: with fewer in a day nothing is stopped.

    """

    cost_ratio: float | None = Field(None, gt=0)
    ttft_p95_ratio: float | None = Field(None, ge=1, le=100)
    answer_p95_ratio: float | None = Field(None, ge=1, le=100)
    error: float = Field(0.01, gt=0, le=0.2)
    min_bad_events: int = Field(5, ge=1)

    @property
    def ratios(self) -> dict[str, float]:
        """Allowed ratios of 95th percentiles, by rail."""
        told = {TTFT: self.ttft_p95_ratio, ANSWER: self.answer_p95_ratio}
        return {rail: ratio for rail, ratio in told.items() if ratio is not None}


class ExperimentConfig(StrictModel):
    """One experiment on the requests that routing sends to a lane (docs/experiments.md).

    A changed experiment begins anew: what was stopped is tried again.

    Attributes:
        kind: `ab`: sessions are divided; `switchback`: blocks of time; `shadow`: requests stay,
            and a copy of some goes to the treatment while that has nothing to do.
        control, treatment: lanes.
        share: of sessions, blocks or copies that the treatment gets.
        starts: when it begins: a date, or a time with its zone; `max_days`: how long it lasts
            at most.
        tenants, tiers: whose requests; empty: everybody's.
        metric: what decides: `preference`, `thumbs`, or `judge`; thumbs where blocks are compared,
            the judge of shadows, which nobody sees.
        alpha: chance that equal lanes are ever called different.
        smallest: preference beyond one half that is worth finding; the test is tuned for it.
        block_minutes, washout_minutes: of a switchback.
        at_once: of a shadow: copies under way in one ingress replica; `within_s`: how long one
            may take.

    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    kind: Literal["ab", "switchback", "shadow"]
    control: str
    treatment: str
    share: float = Field(0.5, gt=0, lt=1)
    starts: AwareDatetime
    max_days: int = Field(14, ge=1, le=90)
    tenants: list[str] = Field(default_factory=list)
    tiers: list[str] = Field(default_factory=list)
    metric: Literal["preference", "thumbs", "judge"] = "preference"
    alpha: float = Field(0.05, gt=0, le=0.2)
    smallest: float = Field(0.05, ge=0.005, le=0.4)
    block_minutes: float = Field(60, ge=1)
    washout_minutes: float = Field(5, ge=0)
    at_once: int = Field(2, ge=1, le=64)
    within_s: float = Field(120, gt=0, le=3600)
    guard: GuardConfig = GuardConfig()

    @field_validator("starts", mode="before")
    @classmethod
    def _a_date_is_its_midnight(cls, value: Any) -> Any:
        """YAML reads `2026-12-01` as a date, and a time with a zone in UTC.

        Without its hyphens it is a number, which would be seconds since 1970.
        """
        if isinstance(value, int | float):
            why = "say a date such as 2026-12-01, or a time with its zone"
            raise ValueError(why)  # noqa: TRY004 - pydantic would pass a TypeError on
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return dt.datetime.combine(value, dt.time(), dt.UTC)
        if isinstance(value, dt.datetime) and value.tzinfo is None:
            raise ValueError("say the zone, such as 2026-12-01T09:00:00+01:00, or a date alone")
        return value

    @model_validator(mode="before")
    @classmethod
    def _has_a_metric_that_it_can_have(cls, data: Any) -> Any:
        """No answer is preferred within a block, and nobody sees those of a shadow."""
        own = _METRICS.get(str(data.get("kind"))) if isinstance(data, dict) else None
        return data if own is None else {"metric": own, **data}

    @model_validator(mode="after")
    def _compares_two(self) -> Self:
        if self.control == self.treatment:
            raise ValueError(f"{self.name}: control and treatment are the same lane")
        if self.kind == "switchback" and self.metric == "preference":
            raise ValueError(f"{self.name}: blocks are compared by their thumbs: metric: thumbs")
        if self.kind == "switchback" and self.washout_minutes >= self.block_minutes:
            raise ValueError(f"{self.name}: washout_minutes leaves nothing of block_minutes")
        if self.kind == "switchback" and self.guard.ratios:
            raise ValueError(
                f"{self.name}: guard: its arms have other hours of the day, so that their times do "
                "not compare; say ttft_p95_s or answer_p95_s"
            )
        if self.kind == "shadow" and self.metric == "thumbs":
            raise ValueError(f"{self.name}: nobody sees a shadow's answers: metric: judge")
        return self

    @model_validator(mode="after")
    def _has_no_setting_of_another_kind(self) -> Self:
        """It would have no effect, and whoever wrote it thinks that it has one."""
        for key in sorted(self.model_fields_set & _OF_KINDS.keys()):
            if self.kind not in _OF_KINDS[key]:
                kinds = " or ".join(_OF_KINDS[key])
                raise ValueError(
                    f"{self.name}: {key} is for kind: {kinds}, and this is kind: {self.kind}"
                )
        return self

    @model_validator(mode="after")
    def _has_blocks_enough(self) -> Self:
        # The newest block waits until there is a next one.
        blocks = int(self.max_days * DAY_S // (self.block_minutes * MINUTE_S)) - 1
        least = least_outcomes(self.alpha)
        if self.kind == "switchback" and self.metric == "thumbs" and blocks < least:
            raise ValueError(
                f"{self.name}: {blocks} blocks that are over in max_days decide nothing, whatever "
                f"their thumbs: it takes {least} and usually many more; shorten block_minutes"
            )
        return self

    @property
    def lanes(self) -> tuple[str, str]:
        return self.control, self.treatment

    @property
    def begins(self) -> float:
        return self.starts.timestamp()

    @property
    def ends(self) -> float:
        return self.begins + self.max_days * DAY_S

    def experiment(self) -> Experiment:
        """Return it as requests are assigned by it."""
        return Experiment(
            self.name,
            Kind(self.kind),
            self.control,
            self.treatment,
            self.share,
            self.begins,
            self.ends,
            frozenset(self.tenants),
            frozenset(self.tiers),
            self.block_minutes * MINUTE_S,
            self.washout_minutes * MINUTE_S,
        )

    def targets(self, base: Targets) -> Targets:
        """Return what each request is judged by; `base`: what the deployment promises."""
        known = {name: getattr(base, name) for name in TargetsConfig.model_fields}
        return Targets(**(known | dict(self.guard.given)))

    def rails(self, base: Targets) -> Rails:
        """Return what stops the treatment."""
        targets = self.targets(base)
        allowed = {x.value: targets.allowed_ratio(x) for x in Objective}
        return Rails(
            {rail: ratio for rail, ratio in allowed.items() if ratio is not None},
            self.guard.cost_ratio,
            self.guard.error,
            self.guard.min_bad_events,
            self.max_days,
            self.guard.ratios,
        )
