"""Scores of user turns, drawn: what the classifier would say without a text to read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

SAMPLE = 5_000


@dataclass(frozen=True, slots=True)
class Scores:
    """Two beta distributions: of simple questions and of complex ones.

    Attributes:
        simple, complex: their parameters, alpha and beta.
        complex_share: the share of complex questions that the shipped thresholds are for.

    """

    simple: tuple[float, float] = (1.5, 8.0)
    complex: tuple[float, float] = (8.0, 3.0)
    complex_share: float = 0.03

    def draw(self, random: Random, *, is_complex: bool) -> float:
        return random.betavariate(*(self.complex if is_complex else self.simple))

    def shipped(self) -> Callable[[float], float]:
        """Return the threshold of each share: what an artefact states of its mix."""
        random = Random(0)  # noqa: S311 - nothing here is a secret
        drawn = sorted(
            (
                self.draw(random, is_complex=number < self.complex_share * SAMPLE)
                for number in range(SAMPLE)
            ),
            reverse=True,
        )
        return lambda share: drawn[min(SAMPLE - 1, int(share * SAMPLE))]


SCORES = Scores()
