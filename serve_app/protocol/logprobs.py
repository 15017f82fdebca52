"""Log-probabilities in chat completions: asked for, read, and taken out again.

A choice, whole or in a chunk, has them as `"logprobs":{"content":[{"token","logprob","bytes",
"top_logprobs"}, ...]}`; one that has none says null. They are cut out of the bytes, which leaves
every other byte as the engine wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from serve_app.protocol.sse import EventReader

ASKS: Mapping[str, Any] = {"logprobs": True, "top_logprobs": 0}
"""For the chosen tokens' alone: the engine need not sort its vocabulary for others."""

# Inside a JSON string a quotation mark has a backslash before it: this can only be a member.
_MEMBER = re.compile(rb'"logprobs":\s*\{')
_PART = re.compile(rb'"(?:[^"\\]|\\.)*+"|[{}\[\]]', re.DOTALL)
_NONE = b'"logprobs":null'


def without_logprobs(written: bytes) -> bytes:
    """Return an answer, or whole events, in which each `logprobs` is null."""
    kept, at = [], 0
    while (found := _MEMBER.search(written, at)) is not None:
        end = _end_of_object(written, found.end())
        if end is None:
            break
        kept += [written[at : found.start()], _NONE]
        at = end
    return b"".join(kept) + written[at:] if kept else written


def _end_of_object(written: bytes, begun: int) -> int | None:
    """Return where the object ends whose first byte after the brace is at `begun`."""
    depth = 1
    for part in _PART.finditer(written, begun):
        mark = part[0]
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if not depth:
                return part.end()
    return None


def logprobs_of(choice: Mapping[str, Any]) -> list[float] | None:
    """Return the chosen tokens' log-probabilities of a choice, in nats; None: it has none."""
    told = choice.get("logprobs")
    content = told.get("content") if isinstance(told, dict) else None
    if not isinstance(content, list):
        return None
    found = [token.get("logprob") if isinstance(token, dict) else None for token in content]
    return [float(one) for one in found if isinstance(one, int | float)]


class StrippingReader(EventReader):
    """Reads a stream that was asked for log-probabilities which its client was not to see."""

    def feed(self, chunk: bytes) -> bytes:
        out = super().feed(chunk)
        return without_logprobs(out) if out else out
