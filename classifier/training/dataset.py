"""Reading labelled rows: outcomes of two models, and prompts with a tier."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from classifier.features.conversation import Conversation, conversation_of, rows_of
from classifier.heads import Floats
from classifier.scorer import Scorer

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Dataset:
    """Rows in file order; every array has shape (rows,).

    Attributes:
        text: last user turn.
        source: name of the source.
        domain: kind within the source, as in a subject; empty if none.
        weak, strong: outcomes of the two models in [0, 1], else NaN.
        tier: `easy`, `mixed`, `complex`; empty if none.

    """

    text: NDArray[np.object_]
    source: NDArray[np.str_]
    domain: NDArray[np.str_]
    weak: Floats
    strong: Floats
    tier: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.text)

    @property
    def gain(self) -> Floats:
        """Strong - weak, NaN unless both were measured."""
        return self.strong - self.weak

    @property
    def measured(self) -> Mask:
        """Rows on which both models were measured."""
        return ~np.isnan(self.gain)

    def counts(self) -> dict[str, int]:
        """Rows by source."""
        names, counts = np.unique(self.source, return_counts=True)
        return {str(name): int(count) for name, count in zip(names, counts, strict=True)}

    def take(self, rows: Mask) -> "Dataset":
        """The rows where `rows` is true."""
        return Dataset(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def joined(self, other: "Dataset") -> "Dataset":
        names = self.__dataclass_fields__
        return Dataset(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in names))


def read_rows(paths: Sequence[Path]) -> Dataset:
    """Read JSON-lines files, gzip'd or not.

    A row has `text` or `messages`; `source`, `domain`, `weak`, `strong`, `tier` and
    `thumb` where known. Raises ValueError naming the file and line of a bad row.
    """
    return from_rows([row for path in paths for _, row in rows_of(path)])


def from_rows(rows: Sequence[dict[str, Any]]) -> Dataset:
    text = np.empty(len(rows), dtype=object)
    text[:] = [conversation_of(row).last_user for row in rows]
    return Dataset(
        text=text,
        source=np.array([str(row.get("source") or "unnamed") for row in rows]),
        domain=np.array([str(row.get("domain") or "") for row in rows]),
        weak=np.array([_weak(row) for row in rows], dtype=np.float64),
        strong=np.array([_number(row.get("strong")) for row in rows], dtype=np.float64),
        tier=np.array([str(row.get("tier") or "") for row in rows]),
    )


def scores_of(scorer: Scorer, data: Dataset) -> Floats:
    """The score of each row's last user turn, shape (rows,)."""
    scores = (scorer.score(Conversation(last_user=text)) for text in data.text)
    return np.fromiter(scores, np.float64, len(data))


def joined_easy(data: Dataset, count: int, rng: np.random.Generator) -> Dataset:
    """Longer everyday messages: 2 to 12 easy rows of one source in one text.

    Everyday rows are single sentences. Without these the model takes every long
    message for a complex one.
    """
    rows = []
    for source in np.unique(data.source[data.tier == "easy"]):
        texts = data.text[(data.tier == "easy") & (data.source == source)]
        for _ in range(count):
            parts = rng.choice(texts, rng.integers(2, 13))
            rows.append({"text": ". ".join(parts), "source": str(source), "tier": "easy"})
    return from_rows(rows)


def _number(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else float("nan")


def _weak(row: dict[str, Any]) -> float:
    """The weak model's outcome: measured, or a user's thumb on its answer."""
    if row.get("thumb") in ("up", "down"):
        return float(row["thumb"] == "up")
    return _number(row.get("weak"))
