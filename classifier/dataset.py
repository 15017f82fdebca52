"""Reading labelled rows: outcomes of two models, and prompts with a tier."""

import gzip
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from classifier.conversation import Conversation
from classifier.features import extract

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Dataset:
    """Rows in file order.

    Attributes:
        features: shape (rows, features).
        source: name of the source of each row.
        gain: strong - weak where both were measured, else NaN.
        tier: `easy`, `complex` or another label of the source; empty if none.

    """

    features: Floats
    source: NDArray[np.str_]
    gain: Floats
    tier: NDArray[np.str_]

    def take(self, rows: NDArray[np.bool_]) -> "Dataset":
        """The rows where `rows` is true."""
        return Dataset(self.features[rows], self.source[rows], self.gain[rows], self.tier[rows])


def surface(texts: Sequence[str]) -> Floats:
    """Surface features of single-turn prompts, shape (len(texts), features)."""
    return np.array([extract(Conversation(last_user=text)) for text in texts])


def read_rows(
    paths: Sequence[Path],
    featurize: Callable[[Sequence[str]], Floats] = surface,
    per_source: int | None = None,
) -> Dataset:
    """Read JSON-lines files, gzip'd or not; rows need `text` and `source`.

    Args:
        paths: the files, read in this order.
        featurize: texts to a matrix with a row each.
        per_source: keep this many rows of each source, spread evenly over it.

    """
    rows = list(_rows(paths))
    if per_source is not None:
        rows = _spread(rows, per_source)
    return Dataset(
        features=featurize([str(row["text"]) for row in rows]),
        source=np.array([str(row["source"]) for row in rows]),
        gain=np.array([_gain(row) for row in rows]),
        tier=np.array([str(row.get("tier") or "") for row in rows]),
    )


def _spread(rows: Sequence[dict[str, object]], per_source: int) -> list[dict[str, object]]:
    by_source: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        by_source.setdefault(str(row["source"]), []).append(row)
    return [
        row for group in by_source.values() for row in group[:: max(1, len(group) // per_source)]
    ]


def _gain(row: dict[str, object]) -> float:
    weak, strong = row.get("weak"), row.get("strong")
    if not isinstance(weak, (int, float)) or not isinstance(strong, (int, float)):
        return float("nan")
    return float(strong) - float(weak)


def _rows(paths: Iterable[Path]) -> Iterable[dict[str, object]]:
    for path in paths:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
