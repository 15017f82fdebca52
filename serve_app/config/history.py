"""The `history:` block of a tier or a tenant: how much of a conversation the engine reads."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from router.routing.history import HistoryBudget
from router.tokens import START_BYTES_PER_TOKEN
from serve_app.config.errors import StrictModel
from serve_app.config.summaries import MODE, SummaryConfig, check_use


class HistoryConfig(StrictModel):
    """A cap on the history of each session, in estimated tokens (docs/sessions.md).

    Attributes:
        high_tokens: over it, old turns are left out of what the engine reads.
        low_tokens: down to it, so that the prefix then stays the same until the
            history has grown back to `high_tokens`; default: half of it.
        mode: what becomes of old turns. `drop`: the engine does not see them. `summarise`:
            it sees a summary in their place.
        summary: how that is written; it comes on top of `high_tokens`.
        bytes_per_token: UTF-8 bytes of text that count as a token. Fixed, so that
            the cut of a conversation does not depend on what was learned since.

    """

    high_tokens: int = Field(ge=64)
    low_tokens: int | None = Field(None, ge=1)
    mode: Literal["drop", "summarise"] = "drop"
    summary: SummaryConfig = SummaryConfig(max_tokens=600)
    bytes_per_token: float = Field(START_BYTES_PER_TOKEN, ge=1, le=8)

    @model_validator(mode="after")
    def _marks_are_in_order(self) -> Self:
        if self.low_tokens is not None and self.low_tokens >= self.high_tokens:
            raise ValueError("low_tokens must be under high_tokens")
        check_use(self)
        return self

    @property
    def budget(self) -> HistoryBudget:
        return HistoryBudget(self.high_tokens, self.low_tokens or self.high_tokens // 2)

    @property
    def is_summarised(self) -> bool:
        return self.mode == MODE

    @property
    def most_tokens(self) -> int:
        """What the engine reads of a history, its newest turn aside."""
        return self.high_tokens + (self.summary.max_tokens if self.is_summarised else 0)
