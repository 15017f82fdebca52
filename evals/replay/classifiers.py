"""Two classifiers on the same requests: who would be moved, with no engine asked.

Scores of two versions do not compare, shares do: each classifier sends up the same number of
requests, those with its highest scores. What changes is which ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr


@dataclass(frozen=True, slots=True)
class Moves:
    """What another classifier would change.

    Attributes:
        up, down: indices of the requests that would go up, or stay, instead; the surest first.
        both: that go up either way.
        share: of requests that go up with each.
        rank_correlation: Spearman's, of the scores; None: one of them says the same of all.

    """

    requests: int
    up: tuple[int, ...]
    down: tuple[int, ...]
    both: int
    share: float
    rank_correlation: float | None


def moves(incumbent: Sequence[float], candidate: Sequence[float], share: float) -> Moves:
    """Compare scores of the same requests, in one order; `share` of them goes up."""
    count = len(incumbent)
    climbing = round(share * count)
    # The order among equal scores is that of the requests, for both alike.
    old = np.argsort(-np.asarray(incumbent), kind="stable")
    new = np.argsort(-np.asarray(candidate), kind="stable")
    before, after = set(old[:climbing].tolist()), set(new[:climbing].tolist())
    is_flat = count < 2 or len(set(incumbent)) < 2 or len(set(candidate)) < 2
    return Moves(
        requests=count,
        up=tuple(int(x) for x in new[:climbing] if int(x) not in before),
        down=tuple(int(x) for x in old[:climbing] if int(x) not in after),
        both=len(before & after),
        share=share,
        rank_correlation=None if is_flat else float(spearmanr(incumbent, candidate).statistic),
    )
