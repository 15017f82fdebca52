"""How many people a workload has and what they are promised, for who sizes a fleet for it."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from simulator.model.profile import Strict


class Promise(Strict):
    """What is promised, at the 95th percentile, in seconds; None: nothing.

    Attributes:
        ttft_p95_s: first token.
        first_30_p95_s: first 30 tokens.
        answer_p95_s: whole answer of one request.
        turn_p95_s: whole turn, with all its requests and tools.

    """

    ttft_p95_s: float | None = Field(0.8, gt=0)
    first_30_p95_s: float | None = Field(1.2, gt=0)
    answer_p95_s: float | None = Field(None, gt=0)
    turn_p95_s: float | None = Field(None, gt=0)


class Users(Strict):
    """People of a service and their day. One of the first four says how many there are.

    Attributes:
        monthly: active in a month; of them `daily_ratio` are active on a day.
        daily: active on a day.
        active: sessions at once in the busiest hour, where that is known.
        turns_per_s: arriving in the busiest hour.
        power: of the daily, those who begin `power_sessions` a day; the others `sessions`.
        busy_hour_ratio: share of the day's sessions that begin in the busiest hour.
        swing: busiest hour over the quietest.
        burst: sessions at once in a burst, over those of the busiest hour.
        headroom: room for growth, as a share.
        free_ratio: share of sessions that are the free tier's.

    """

    monthly: int | None = Field(None, ge=1)
    daily: int | None = Field(None, ge=1)
    active: float | None = Field(None, gt=0)
    turns_per_s: float | None = Field(None, gt=0)
    daily_ratio: float = Field(0.06, gt=0, le=1)
    power: int = Field(0, ge=0)
    sessions: float = Field(1.0, gt=0)
    power_sessions: float = Field(2.0, gt=0)
    busy_hour_ratio: float = Field(0.15, gt=0, le=1)
    swing: float = Field(10.0, ge=1)
    burst: float = Field(1.5, ge=1)
    headroom: float = Field(0.3, ge=0)
    free_ratio: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _are_counted(self) -> Self:
        if not any((self.monthly, self.daily, self.active, self.turns_per_s)):
            raise ValueError("give one of monthly, daily, active, turns_per_s")
        if self.daily_users is not None and self.power > self.daily_users:
            raise ValueError("there are more power users than users a day")
        return self

    @property
    def daily_users(self) -> float | None:
        """Active on a day; None where only sessions or turns are known."""
        if self.daily is not None:
            return float(self.daily)
        return self.monthly * self.daily_ratio if self.monthly is not None else None

    @property
    def sessions_a_day(self) -> float | None:
        if self.daily_users is None:
            return None
        return (self.daily_users - self.power) * self.sessions + self.power * self.power_sessions
