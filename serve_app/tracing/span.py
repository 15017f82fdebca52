"""One span that has ended, before anybody has decided how it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from serve_app.protocol.trace_context import TraceContext

Value: TypeAlias = str | bool | int | float | list[str]
Attributes: TypeAlias = dict[str, Value]

MAX_TEXT_CHARS = 256
"""Of an attribute that a client has chosen."""


@dataclass(frozen=True, slots=True)
class Span:
    """A span, from `start_ns` to `end_ns` of the Unix clock.

    Attributes:
        parent_id: of a span of the same trace; None: it has none.
        has_remote_parent: whether the parent is the client's.
        is_client: whether it stands for a request to another process.
        error: class of the error that it ended with; empty: with none.
        linked: a span that led to this one and is not above it.

    """

    name: str
    context: TraceContext
    parent_id: int | None
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)
    has_remote_parent: bool = False
    is_client: bool = False
    error: str = ""
    linked: TraceContext | None = None


def text(value: str) -> str:
    """Return a client's text as an attribute may hold it: short, and on one line."""
    return "".join(x if x.isprintable() else "?" for x in value[:MAX_TEXT_CHARS])
