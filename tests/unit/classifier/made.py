"""Made-up rows and a teacher that needs no model."""

from __future__ import annotations

import hashlib

import numpy as np

from classifier.training.build import training_set
from classifier.training.dataset import Dataset, from_rows
from classifier.training.held_out import TrainingSet

HARD = [
    "prove",
    "the",
    "theorem",
    "about",
    "integrals",
    "and",
    "derive",
    "a",
    "recursive",
    "algorithm",
    "with",
    "matrix",
]
EASY = [
    "where",
    "is",
    "my",
    "card",
    "please",
    "help",
    "with",
    "the",
    "new",
    "account",
    "balance",
    "today",
    "thanks",
]


class FakeTeacher:
    """Directions drawn from each text's digest, 24 dimensions."""

    def embed(self, texts):
        rows = np.array(
            [list(hashlib.sha256(text.encode()).digest()[:24]) for text in texts], dtype=float
        )
        rows -= 127.5
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def made_rows(count: int = 240) -> list[dict]:
    """Outcomes of two sources, everyday rows of two, complex rows of one."""
    rng = np.random.default_rng(3)
    rows = []
    for number in range(count):
        words = rng.choice(HARD if number % 2 else EASY, rng.integers(3, 30))
        text = " ".join(words) + (f" {number} = x^2?" if number % 3 else "")
        row = {"text": text, "source": f"s{number % 5}", "domain": f"d{number % 7}"}
        if number % 5 < 2:
            row |= {"weak": float(rng.random() < 0.5), "strong": float(rng.random() < 0.8)}
        elif number % 5 < 4:
            row |= {"tier": "easy"}
        else:
            row |= {"tier": "complex"}
        rows.append(row)
    return rows


def made_data() -> Dataset:
    return from_rows(made_rows())


def made_set(**kwargs) -> TrainingSet:
    return training_set(made_data(), joined=10, written=60, **kwargs)
