"""Reading labelled rows: outcomes of two models, and prompts with a tier."""

import gzip
import json
from collections.abc import Iterable, Sequence
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


def read_rows(paths: Sequence[Path]) -> Dataset:
    """Read JSON-lines files, gzip'd or not; rows need `text` and `source`."""
    features, source, gain, tier = [], [], [], []
    for row in _rows(paths):
        features.append(extract(Conversation(last_user=str(row["text"]))))
        source.append(str(row["source"]))
        gain.append(_gain(row))
        tier.append(str(row.get("tier") or ""))
    return Dataset(np.array(features), np.array(source), np.array(gain), np.array(tier))


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
