"""Which requests of coding agents nobody waits for: they go behind those of people who type.

Sub-agents, titles and summaries run beside a main conversation, often under the same
session. What marks one is what its client says of it, else how it looks. A mark is never
more than a place behind the same tenant's other requests, and on no stronger lane.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

SHORT_TOKENS = 64
"""A coding agent that asks for no more than this, without tools, wants a word, not an answer."""

_SMALL_MODELS = frozenset({"haiku", "mini", "nano"})
_WORDS = re.compile(r"[a-z]+")


class Background(StrEnum):
    """What marks a request as one that nobody waits for."""

    ASKED = "asked"
    SUB_AGENT = "sub_agent"
    TITLE = "title"
    SMALL_MODEL = "small_model"
    SHORT = "short"


@dataclass(frozen=True, slots=True)
class Marks:
    """What a request shows of its purpose.

    Attributes:
        asked: what its client says outright, if anything.
        is_sub_agent: its client names a parent, or a sub-agent.
        is_agent: its client is a coding agent, by its session's header.
        writes_title: it asks for a title or a summary of a session.
        model: the name that it asks for, where no lane has that.

    """

    asked: bool | None = None
    is_sub_agent: bool = False
    is_agent: bool = False
    has_tools: bool = False
    writes_title: bool = False
    output_tokens: int | None = None
    model: str | None = None


def find_background(marks: Marks) -> Background | None:
    """Return why a request is a background one; None: somebody waits for it."""
    if marks.asked is not None:
        return Background.ASKED if marks.asked else None
    if marks.is_sub_agent:
        return Background.SUB_AGENT
    if marks.model is not None and _is_small(marks.model):
        return Background.SMALL_MODEL
    if marks.has_tools:
        return None
    if marks.writes_title:
        return Background.TITLE
    is_short = marks.output_tokens is not None and marks.output_tokens <= SHORT_TOKENS
    return Background.SHORT if marks.is_agent and is_short else None


def _is_small(model: str) -> bool:
    """Whether a name is that of a vendor's small model: `gemini` is no `mini`."""
    return not _SMALL_MODELS.isdisjoint(_WORDS.findall(model.lower()))
