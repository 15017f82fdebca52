"""The summaries that one ingress replica has in memory, bounded for each tenant by itself.

A tenant's entries are in the order of their last use. What is over its bounds goes from the
old end, and only a tenant's own entries make room for one of its own. Ages count from the
last use: the summary of a conversation that goes on does not expire.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from router.summaries.keys import Key

ENTRY_BYTES = 200
"""What an entry takes besides its text, about."""


@dataclass(frozen=True, slots=True)
class BookBounds:
    """Of one tenant's entries: how many, their bytes in all, seconds without use."""

    count: int
    bytes: int
    idle_s: float


@dataclass(slots=True)
class _Entry:
    text: str
    bytes: int
    used: float


@dataclass(slots=True)
class _Shelf:
    """One tenant's entries, the one that was used longest ago first."""

    entries: OrderedDict[Key, _Entry] = field(default_factory=OrderedDict)
    bytes: int = 0

    def drop_oldest(self) -> None:
        _, entry = self.entries.popitem(last=False)
        self.bytes -= entry.bytes


class SummaryBook:
    """Texts by tenant and key. `now` is in seconds, of one clock."""

    def __init__(self, bounds: BookBounds) -> None:
        self.bounds = bounds
        self._shelves: dict[str, _Shelf] = {}

    def __len__(self) -> int:
        return sum(len(shelf.entries) for shelf in self._shelves.values())

    def bytes_of(self, tenant: str) -> int:
        """What a tenant's entries take."""
        shelf = self._shelves.get(tenant)
        return 0 if shelf is None else shelf.bytes

    def get(self, tenant: str, key: Key, now: float) -> str | None:
        """The text under a tenant's key, which is in use from now on; None: there is none."""
        shelf = self._shelves.get(tenant)
        entry = None if shelf is None else shelf.entries.get(key)
        if shelf is None or entry is None or now - entry.used > self.bounds.idle_s:
            return None
        entry.used = now
        shelf.entries.move_to_end(key)
        return entry.text

    def put(self, tenant: str, key: Key, text: str, now: float) -> None:
        """Keep a text, in place of what is there under its key."""
        self._forget_idle(now)
        shelf = self._shelves.setdefault(tenant, _Shelf())
        before = shelf.entries.pop(key, None)
        if before is not None:
            shelf.bytes -= before.bytes
        size = len(text.encode("utf-8", "surrogatepass")) + ENTRY_BYTES
        shelf.entries[key] = _Entry(text, size, now)
        shelf.bytes += size
        while len(shelf.entries) > self.bounds.count or (
            shelf.bytes > self.bounds.bytes and len(shelf.entries) > 1
        ):
            shelf.drop_oldest()

    def _forget_idle(self, now: float) -> None:
        for tenant, shelf in list(self._shelves.items()):
            while shelf.entries:
                oldest = next(iter(shelf.entries.values()))
                if now - oldest.used <= self.bounds.idle_s:
                    break
                shelf.drop_oldest()
            if not shelf.entries:
                del self._shelves[tenant]
