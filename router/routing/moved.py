"""Conversations of which a turn was moved to a stronger lane by what the weak lane knew.

Stickiness of other escalations needs no table: the scores of the last turns can be had again from
the request itself. What a weak lane knew of its first tokens cannot. So the last moved turn of
each conversation is kept, in each ingress replica by itself: where it is not known, the next turn
is decided by its score, and the conversation is read once more.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Moved:
    """`turn`: the number of user turns in the conversation, the moved one included."""

    lane: str
    turn: int
    at: float


class MovedConversations:
    """The last moved turn of each conversation, the latest at the end.

    Args:
        most: over it, the conversation that was moved longest ago is forgotten (200 bytes each).
        idle_s: after so long a move is forgotten.

    """

    def __init__(self, most: int = 20_000, idle_s: float = 3600.0) -> None:
        self._most, self._idle_s = most, idle_s
        self._moved: OrderedDict[str, _Moved] = OrderedDict()

    def __len__(self) -> int:
        return len(self._moved)

    def note(self, session: str, lane: str, turn: int, now: float) -> None:
        """Keep where a turn was moved to."""
        self._moved[session] = _Moved(lane, turn, now)
        self._moved.move_to_end(session)
        if len(self._moved) > self._most:
            self._moved.popitem(last=False)

    def forget(self, session: str) -> None:
        """A move came to nothing."""
        self._moved.pop(session, None)

    def find(self, session: str, turn: int, within: int, now: float) -> str | None:
        """Return the lane where one of the last `within` turns, this one included, was moved to.

        A conversation that is shorter than it was is another one.
        """
        found = self._moved.get(session)
        if found is None:
            return None
        if now - found.at >= self._idle_s:
            del self._moved[session]
            return None
        return found.lane if 0 <= turn - found.turn < within else None
