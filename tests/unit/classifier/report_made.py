"""Made-up logs, rows and an artefact for the tests of the report."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path


class FakeScorer:
    def score(self, conversation) -> float:
        return min(1.0, len(conversation.last_user) / 100)


@dataclass
class FakeArtifact:
    version: str = "fake-v1"
    kind: str = "compiled"
    training: dict = field(default_factory=dict)

    def scorer(self) -> FakeScorer:
        return FakeScorer()

    def threshold_for_share(self, share: float) -> float:
        assert share == 0.03
        return 0.5


def request(number: int, **changes) -> dict:
    """One scored request a minute; every tenth goes up."""
    is_up = number % 10 == 0
    row = {
        "time": f"2026-11-{1 + number // 1440:02d}T{number // 60 % 24:02d}:{number % 60:02d}:00Z",
        "tenant": f"tenant-{number % 3}",
        "lane": "quality" if is_up else "chat",
        "reason": "complex" if is_up else "default",
        "score": 0.8 if is_up else 0.1 + 0.2 * (number % 7) / 7,
        "threshold": 0.5,
        "classifier": "fake-v1",
        "shadow_score": None,
        "shadow_classifier": None,
    }
    return {**row, **changes}


def write_log(path: Path, rows: list) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def labelled() -> list[dict]:
    """Half of the long prompts need the strong model, none of the short ones do."""
    rows = []
    for n in range(60):
        is_long = n % 2 == 0
        text = "x" * (60 + n % 30 if is_long else 5)
        rows.append(
            {"text": text, "source": "made", "weak": 0.0, "strong": float(is_long and n % 4 == 0)}
        )
    return [*rows, {"text": "hello", "source": "talk", "tier": "easy"}]
