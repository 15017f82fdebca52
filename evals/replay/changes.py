"""What changes for users where one lane takes another's place: the same words, better, worse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Pair = tuple[bool, str, str, float | None, float | None]
"""Whether both said the same; the candidate's text, the incumbent's; both scores."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Of the cases that both answered.

    Attributes:
        same_share: answered alike, texts and calls.
        kept_share: of a text, up to the first difference; the mean. A change of arithmetic moves
            it long before it moves what is right.
        better, worse: answers that only the candidate, or only the incumbent, has right (or has
            more of it).

    """

    same_share: float
    kept_share: float
    better: int
    worse: int


def changes_of(pairs: Sequence[Pair]) -> Changes | None:
    """Sum up; None: there is no pair."""
    if not pairs:
        return None
    scores = [(ours, theirs) for *_, ours, theirs in pairs if ours is not None]
    known = [(ours, theirs) for ours, theirs in scores if theirs is not None]
    return Changes(
        same_share=sum(same for same, *_ in pairs) / len(pairs),
        kept_share=sum(kept(one, other) for _, one, other, *_ in pairs) / len(pairs),
        better=sum(ours > theirs for ours, theirs in known),
        worse=sum(ours < theirs for ours, theirs in known),
    )


def kept(one: str, other: str) -> float:
    """Return the part of the longer text with which both begin."""
    signs = enumerate(zip(one, other, strict=False))
    same = next((at for at, (a, b) in signs if a != b), min(len(one), len(other)))
    return same / max(len(one), len(other)) if one or other else 1.0
