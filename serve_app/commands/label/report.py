"""What `pointsman classifier label` counts, and says of it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any


class Tally:
    """Counts of one run."""

    def __init__(self) -> None:
        self.labelled = self.failed = 0
        self.todo = self._prompts = 0
        self._cut_answers = 0
        self._weak = self._strong = 0.0
        self._reasons: Counter[str] = Counter()

    def begin(self, prompts: int, todo: int) -> None:
        """How many prompts there are, and how many have no row yet."""
        self._prompts, self.todo = prompts, todo

    def add(self, row: dict[str, Any], cut: int) -> None:
        """One prompt is labelled; `max_tokens` cut so many of its answers."""
        self.labelled += 1
        self._cut_answers += cut
        self._weak += row["weak"]
        self._strong += row["strong"]

    def fail(self, name: str, reason: str) -> None:
        """One prompt is skipped; says at once which and why."""
        self.failed += 1
        self._reasons[reason] += 1
        # The progress bar may stand on this line.
        clear = "\r\x1b[K" if sys.stderr.isatty() else ""
        print(f"{clear}skipped {name}: {reason}", file=sys.stderr)

    def print(self, out: Path, *, as_json: bool) -> None:
        done = max(1, self.labelled)
        summary = {
            "prompts": self._prompts,
            "labelled": self.labelled,
            "labelled_before": self._prompts - self.todo,
            "failed": self.failed,
            "failures": dict(self._reasons.most_common()),
            "cut_answers": self._cut_answers,
            "mean_weak": round(self._weak / done, 4) if self.labelled else None,
            "mean_strong": round(self._strong / done, 4) if self.labelled else None,
            "out": str(out),
        }
        if as_json:
            print(json.dumps(summary))
            return
        for name, value in summary.items():
            print(f"{name}: {value}")
