"""What a run of a workload was like, and whether it kept its SLO."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Turn:
    """One finished request, as its client saw it. Seconds and tokens.

    Attributes:
        stage: which stage of its turn.
        turn: number of the turn in its session, from 0.
        begun: when it was sent, on the run's clock.
        ttft_s: to the first token.
        duration_s: to the last.
        first_30_s: to the 30th token, or the last of a shorter answer.
        longest_gap_s: longest time between two tokens.
        error: why it failed; empty when it did not.
        lane: which lane answered, where one is named.

    """

    stage: str
    turn: int
    begun: float
    ttft_s: float
    duration_s: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    first_30_s: float
    longest_gap_s: float
    error: str = ""
    lane: str = ""

    @property
    def itl_s(self) -> float:
        """Mean time between tokens; not a number for a single token."""
        if self.output_tokens < 2:
            return math.nan
        return (self.duration_s - self.ttft_s) / (self.output_tokens - 1)


@dataclass(frozen=True, slots=True)
class Slo:
    """Bounds at the 95th percentile, in seconds. Defaults: the chat workload's."""

    ttft_p95_s: float = 0.8
    first_30_p95_s: float = 1.2
    duration_p95_s: float = 4.5

    def judge(self, turns: Sequence[Turn]) -> dict[str, Any]:
        """Each bound with what was seen, and the share of turns within all of them."""
        good = [t for t in turns if not t.error]
        seen = {
            "ttft_p95_s": quantile((t.ttft_s for t in good), 0.95),
            "first_30_p95_s": quantile((t.first_30_s for t in good), 0.95),
            "duration_p95_s": quantile((t.duration_s for t in good), 0.95),
        }
        within = sum(
            t.ttft_s <= self.ttft_p95_s
            and t.first_30_s <= self.first_30_p95_s
            and t.duration_s <= self.duration_p95_s
            for t in good
        )
        bounds = asdict(self)
        return {
            "bounds": bounds,
            "seen": seen,
            "kept": all(seen[name] <= bounds[name] for name in bounds) and len(good) == len(turns),
            "goodput_share": within / len(turns) if turns else math.nan,
        }


def summary(turns: Sequence[Turn]) -> dict[str, Any]:
    """Percentiles of a run: TTFT, ITL, end to end; tokens; errors."""
    good = [t for t in turns if not t.error]
    prompt = sum(t.prompt_tokens for t in good)
    row: dict[str, Any] = {"requests": len(turns), "errors": len(turns) - len(good)}
    for name, values in (
        ("ttft", [t.ttft_s for t in good]),
        ("itl", [t.itl_s for t in good if t.output_tokens > 1]),
        ("longest_gap", [t.longest_gap_s for t in good]),
        ("first_30", [t.first_30_s for t in good]),
        ("duration", [t.duration_s for t in good]),
    ):
        for q in (50, 95, 99):
            row[f"{name}_p{q}_ms"] = 1000 * quantile(values, q / 100)
    # Tokens that a late client found all at once have no time between them.
    itl = row["itl_p50_ms"] / 1000
    row["tokens_per_s_per_user_p50"] = 1 / itl if itl else math.nan
    row["prompt_tokens"] = prompt
    row["output_tokens"] = sum(t.output_tokens for t in good)
    row["cached_share"] = sum(t.cached_tokens for t in good) / prompt if prompt else math.nan
    return row


def by_turn(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """TTFT, ITL and end-to-end percentiles turn by turn."""
    rows = []
    for number in sorted({t.turn for t in turns}):
        mine = [t for t in turns if t.turn == number]
        rows.append({"turn": number + 1, **summary(mine)})
    return rows


def quantile(values: Iterable[float], q: float) -> float:
    """The q-quantile by nearest rank; not a number without values."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]
