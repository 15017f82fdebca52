"""What a client has of the answers of one way, counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from benchmarks.support.agent_calls import Exchange, Heard, Judge

UNPARSABLE = frozenset({"not JSON", "not an object"})


@dataclass
class Tally:
    """What came of the answers of one way.

    Attributes:
        wrong: answers and calls by what is wrong with them; `fewer`: some of the calls are
            missing.
        unparsable: calls whose arguments are no JSON object, and answers with the call in
            their text.
        told: answers that are an error.
        empty: answers that the engines left empty again and again.
        odd: answers that a client of the route would stumble over.

    """

    answers: int = 0
    calls: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    unparsable: int = 0
    told: int = 0
    empty: int = 0
    odd: int = 0
    shown: list[str] = field(default_factory=list)

    def add(
        self, asked: Exchange, found: Heard, judge: Judge, what: str, *, is_empty: bool
    ) -> None:
        self.answers += 1
        self.calls += len(found.calls)
        self.told += bool(found.error)
        faults = judge.faults(asked, found)
        if faults == ["silent"] and is_empty:
            faults = []
            self.empty += 1
        if not found.error and 0 < len(found.calls) < asked.expected:
            faults.append("fewer")
        self.wrong.update(faults)
        is_in_text = faults == ["silent"] and any(name in found.text for name, _ in asked.calls)
        self.unparsable += sum(fault in UNPARSABLE for fault in faults) + is_in_text
        self.odd += bool(found.odd)
        if faults or found.odd:
            calls = [call[1:] for call in found.calls]
            self.shown.append(
                f"{what} {asked.id}: {faults} {found.odd} calls {calls} text {found.text[:200]!r}"
            )

    def row(
        self, way: str, steps: Counter[str], repair_tokens: list[tuple[int, int]]
    ) -> dict[str, Any]:
        """The way's row.

        Args:
            way: its name.
            steps: repairs by step and outcome.
            repair_tokens: prompt tokens that were new, and completion tokens, of each repair.

        """
        wrong, repairs = sum(self.wrong.values()), max(1, len(repair_tokens))
        first = steps["grammar mended"] + steps["grammar failed"]
        return {
            "way": way,
            "answers": self.answers,
            "calls": self.calls,
            "invalid or silently dropped": wrong,
            "share %": 100 * wrong / self.answers,
            "of that silent": self.wrong["silent"],
            "of that calls missing": self.wrong["fewer"],
            "unparsable %": 100 * self.unparsable / self.answers,
            "empty again and again": self.empty,
            "errors told": self.told,
            "malformed": self.odd,
            "mended by one more call %": 100 * steps["grammar mended"] / first if first else "",
            "repairs": ", ".join(f"{k} {n}" for k, n in sorted(steps.items()) if n),
            "new prompt tokens a repair": sum(x for x, _ in repair_tokens) / repairs,
            "answer tokens a repair": sum(x for _, x in repair_tokens) / repairs,
        }
