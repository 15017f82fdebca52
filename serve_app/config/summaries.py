"""Summaries in the place of long tool results and of old turns (docs/agents.md)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from serve_app.config.errors import StrictModel

MODE = "summarise"


class SummaryConfig(StrictModel):
    """How a lane writes a summary.

    Attributes:
        lane: who writes it; null: the lane of `routing.default`.
        max_tokens: of a summary.
        read_tokens: of what it is made from, at most; what is longer is shortened first.
        within_s: the request waits for it so long at most, and goes on without it then.
        at_once: summaries that one request may have made; further ones it does without.

    """

    lane: str | None = Field(None, min_length=1)
    max_tokens: int = Field(300, ge=32, le=4000)
    read_tokens: int = Field(16_000, ge=256)
    within_s: float = Field(20, gt=0, le=600)
    at_once: int = Field(4, ge=1, le=16)


class SummaryStoreConfig(StrictModel):
    """How long summaries are kept, and how many; bounds are of each tenant by itself.

    Attributes:
        on_disk: also in summaries.db of the state directory, so that other ingress replicas
            and a restart find them; false: in each ingress replica's memory alone.
        keep_days: since their last use.
        max_count: with a note for each session that has one, or does without it.
        max_bytes: of their text, in memory and on disk alike.

    """

    on_disk: bool = True
    keep_days: float = Field(7, gt=0, le=90)
    max_count: int = Field(8000, ge=1)
    max_bytes: int = Field(4 * 1024 * 1024, ge=4096)


def check_use(config: Any) -> None:
    """Raise ValueError where a model with `mode` and `summary` says what has no effect."""
    if config.mode != MODE and "summary" in config.model_fields_set:
        raise ValueError(f"summary is for 'mode: {MODE}'")
