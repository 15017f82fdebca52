"""Long tool results cut to a limit, the same way each time they are sent.

What stays depends on the result's text and the limit alone. So the newest result is cut
as it will be cut in all later requests of its conversation, and the engine's prefix cache
keeps what it has read. A result within the limit stays as it is, and every cut result is
within it: what was cut once is not cut again.

JSON stays JSON (`router.agents.cut_json`), other text keeps its head and its tail
(`router.agents.cut_text`).
"""

from __future__ import annotations

from dataclasses import dataclass

from router.agents.cut_json import cut_json
from router.agents.cut_text import cut_text, utf8_bytes
from router.tokens import START_BYTES_PER_TOKEN


@dataclass(frozen=True, slots=True)
class ResultLimit:
    """The size of one tool result, at most.

    Tokens are reckoned at a fixed rate, as in `router.routing.history.size_tokens`: the
    lane's learned one moves, and the cut with it.
    """

    max_tokens: int = 1000
    bytes_per_token: float = START_BYTES_PER_TOKEN

    @property
    def max_bytes(self) -> int:
        return int(self.max_tokens * self.bytes_per_token)

    def tokens(self, utf8_bytes: int) -> int:
        return int(utf8_bytes / self.bytes_per_token)


def shorten(text: str, max_bytes: int) -> str:
    """A tool result in `max_bytes` UTF-8 bytes at most; the same text where it fits."""
    # A character has a byte at least, and four at most.
    if 4 * len(text) <= max_bytes or utf8_bytes(text) <= max_bytes:
        return text
    cut = cut_json(text, max_bytes)
    return cut_text(text, max_bytes) if cut is None else cut
