"""`advice:` of the fleet file: what is remembered of signals, and which triggers fire when."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from router.advice.table import BY_NAME
from serve_app.config.errors import StrictModel, nearest


class AdviceConfig(StrictModel):
    """What `pointsman advise` knows (docs/advice.md).

    Attributes:
        enabled: false: no history is written, and no trigger but `escalation_share` fires.
            Takes effect at a restart, as all of this but `off` and `limits`.
        path: of the history, a file, absolute or under the state directory.
        period_s: a point is taken so often.
        keep_days: how long the coarsest points are kept.
        max_bytes: of the file; over it the oldest points are deleted.
        off: triggers that never fire here.
        limits: other limits, by trigger; it clears as far below (or above) as it does by default.
        profiles: by lane, the simulator's profile of it, where it is not found by its model.

    """

    enabled: bool = True
    path: str = Field("advice.db", min_length=1)
    period_s: float = Field(15, ge=5, le=30)
    keep_days: float = Field(400, ge=8, le=3650)
    max_bytes: int = Field(64 * 1024 * 1024, ge=1024 * 1024)
    off: list[str] = Field(default_factory=list)
    limits: dict[str, float] = Field(default_factory=dict)
    profiles: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_triggers(self) -> Self:
        for key, names in (("off", self.off), ("limits", self.limits)):
            for name in names:
                if name not in BY_NAME:
                    raise ValueError(f"{key}: no trigger '{name}'{nearest(name, BY_NAME)}")
        for name, limit in self.limits.items():
            if limit <= 0:
                raise ValueError(f"limits.{name}: must be over 0")
        return self
