"""How many replicas a lane has: a number, or bounds between which they follow the load."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from router.scaling.lane_load import ScalingTerms
from serve_app.config.errors import StrictModel


class ReplicasConfig(StrictModel):
    """Replicas of a lane. In the file, `replicas: 2` is `{min: 2, max: 2}`.

    Attributes:
        min, max: bounds. Where they differ the lane is scaled (docs/autoscaling.md).
        standby: replicas that are loaded beyond the need and get no turns until the others are
            used to 85 %: the warm pool.
        full_at: sequences that a replica runs where it is full for the scaling; None: its slots.
            Less, where objectives are met with fewer than the engine would take.
        calm_s: how long fewer must have been enough before a replica goes.
        forecast: whether replicas are started before a rise that comes every day.

    """

    min: int = Field(1, ge=1)
    max: int = Field(ge=1)
    standby: int = Field(0, ge=0)
    full_at: int | None = Field(None, ge=1)
    calm_s: float = Field(600, ge=1, le=86_400)
    forecast: bool = True

    @model_validator(mode="before")
    @classmethod
    def _reads_a_number(cls, data: Any) -> Any:
        if isinstance(data, dict | cls):
            return data
        if isinstance(data, bool) or not isinstance(data, int) or data < 1:
            raise ValueError(
                f"is a number from 1 on, or bounds such as {{min: 1, max: 3}}; got {data!r}"
            )
        return {"min": data, "max": data}

    @model_validator(mode="after")
    def _has_room(self) -> Self:
        if self.max < self.min:
            raise ValueError(f"max ({self.max}) is less than min ({self.min})")
        if self.min + self.standby > self.max:
            raise ValueError(
                f"min ({self.min}) and standby ({self.standby}) together are more than max "
                f"({self.max})"
            )
        return self

    @property
    def follow_load(self) -> bool:
        """Whether they are scaled; a fixed number is not."""
        return self.max > self.min

    def terms(self, slots: int | None, ttft_s: float | None) -> ScalingTerms:
        """Return what they follow the load by; `ttft_s` is the lane's objective, if any."""
        own = {} if ttft_s is None else {"ttft_s": ttft_s}
        return ScalingTerms(
            self.min,
            self.max,
            self.standby,
            slots=self.full_at or slots,
            calm_s=self.calm_s,
            **own,
        )
