"""Work that can be laid down and taken up again: a generator that yields where it may wait.

What reads a request body is written once and run in one of two ways: at once, for the
small bodies that most requests have, or with the event loop's other work in between.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Yields between two pieces of work; its return value is the result."""


def at_once(steps: Steps[T]) -> T:
    """Run the steps without a pause, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
