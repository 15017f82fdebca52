"""The kinds of values a field may hold: what `serve_app.bodies.body_rules` is written in.

A check takes a value that is not null and says what it must be instead ("an integer"), or
None. Whole numbers written as `16.0` are whole numbers; a string is never a number nor a
switch, although the engine's reader would take `"off"` for false and `"16"` for 16: what
is metered must be what is generated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

Check = Callable[[Any], str | None]

MAX_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Kind:
    """Check that a value is of one of a few types, named to the client in `words`."""

    words: str
    types: tuple[type, ...]

    def __call__(self, value: Any) -> str | None:
        return None if isinstance(value, self.types) else self.words


is_flag = Kind("true or false", (bool,))
is_text = Kind("a string", (str,))
is_object = Kind("an object", (dict,))
is_array = Kind("an array", (list,))
is_text_or_array = Kind("a string or an array", (str, list))


@dataclass(frozen=True, slots=True)
class Whole:
    """Check for an integer within bounds."""

    least: float = -inf
    most: float = inf

    def __call__(self, value: Any) -> str | None:
        if not is_whole(value):
            return "an integer"
        if self.least <= value <= self.most:
            return None
        return f"at least {self.least} and at most {self.most}"


def within_64_bits(value: Any) -> str | None:
    """Check what the engine takes for an integer. One of more bits ends a request at 500."""
    if isinstance(value, (int, float)) and not -MAX_INT64 <= value <= MAX_INT64:
        return f"at least {-MAX_INT64} and at most {MAX_INT64}"
    return None


@dataclass(frozen=True, slots=True)
class Only:
    """Check for one of a few values. `words` stands for them where the client is not told which."""

    values: tuple[Any, ...]
    words: str = ""

    def __call__(self, value: Any) -> str | None:
        if any(type(value) is type(known) and value == known for known in self.values):
            return None
        return self.words or " or ".join(map(repr, self.values)) + " here"


LEFT_OUT = "left out: it is not supported here"
is_off = Only((False,), "false: it is not supported here")
is_absent = Only((), LEFT_OUT)
is_empty = Only(([], {}, ""), LEFT_OUT)
"""Nothing in it: the engine would not do what it asks for."""


@dataclass(frozen=True, slots=True)
class Members:
    """Check for an object, and its members with checks of their own."""

    checks: dict[str, Check]

    def __call__(self, value: Any) -> str | None:
        if not isinstance(value, dict):
            return "an object"
        for name, check in self.checks.items():
            given = value.get(name)
            wrong = check(given) if given is not None else None
            if wrong is not None:
                return f"an object whose '{name}' is {wrong}"
        return None


def is_whole(value: Any) -> bool:
    """Return whether a value is an integer, or a float without a fraction. A flag is neither."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)
