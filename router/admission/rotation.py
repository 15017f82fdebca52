"""One tenant's requests, its users taking turns.

A *user* is whoever one tenant's requests are for: a task of an agent, else a session. In each
round one request of every user goes, a user's own in the order in which they came; a user
who comes joins at the end of the round. So a task of a dozen parallel calls lets one of them
go before another user's question, not twelve.

Memory: one entry (about 300 bytes) for each user who waits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class OfUser(Protocol):
    """A request; its `user` is a name within its tenant."""

    @property
    def user(self) -> str:
        """Whose it is; all without a name are one user's."""


T = TypeVar("T", bound=OfUser)


class Rotation(Generic[T]):
    """Requests that wait."""

    __slots__ = ("_count", "_lines")

    def __init__(self) -> None:
        self._lines: OrderedDict[str, OrderedDict[T, None]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, item: T) -> bool:
        return item in self._lines.get(item.user, ())

    def __iter__(self) -> Iterator[T]:
        """Yield them user by user, which is not the order in which they go."""
        for line in self._lines.values():
            yield from line

    def add(self, item: T) -> None:
        line = self._lines.get(item.user)
        if line is None:
            line = self._lines[item.user] = OrderedDict()
        line[item] = None
        self._count += 1

    def first(self) -> T:
        """Return the request that goes next; there has to be one."""
        return next(iter(next(iter(self._lines.values()))))

    def take(self, item: T, *, starts: bool = True) -> None:
        """Remove a request, whose user had a turn by it if it starts."""
        line = self._lines[item.user]
        del line[item]
        self._count -= 1
        if not line:
            del self._lines[item.user]
        elif starts:
            self._lines.move_to_end(item.user)

    def ahead_of(self, user: str) -> int:
        """Return how many go before a new request of a user, at least."""
        own = len(self._lines.get(user, ()))
        return own + len(self._lines) - (own > 0)
