"""Who takes the next connection: a page of memory in which listeners on one socket tell their load.

Each has a row, which it alone writes: when it was last there, its open connections, and how many it
has taken. Whoever has fewest open is next, and of equals whoever took fewest. A row that is read
half written costs a worse choice once, so there is no lock.
"""

from __future__ import annotations

import mmap
import os
import struct

_ROW = struct.Struct("=dQQ")
"""When it was last there, in seconds of the machine's monotonic clock; open; taken so far."""

ROWS = 16
SIZE = ROWS * _ROW.size

SILENT_S = 2.5
"""Rows that are older count no more: their listener hangs or is gone."""

FREE_S = 10.0
"""From then on a row may be another's. One that only hung writes into it again, at worst."""

NOBODY = (0.0, 0, 0)


def new_page() -> int:
    """Return the descriptor of an empty page, which is gone with its last holder."""
    page = os.memfd_create("pointsman-listeners", os.MFD_CLOEXEC)
    os.ftruncate(page, SIZE)
    return page


class Board:
    """One listener's view of the page.

    Args:
        page: its descriptor.
        now: seconds of the machine's monotonic clock, as everywhere here.

    """

    def __init__(self, page: int, now: float) -> None:
        self._memory = mmap.mmap(page, SIZE)
        rows = self._rows()
        taken = [row[2] for row in rows if now - row[0] < SILENT_S]
        # As many as the busiest: a newcomer is not made up for what it was not there for.
        self._open, self._taken = 0, max(taken, default=0)
        free = (at for at, row in enumerate(rows) if now - row[0] >= FREE_S)
        self._mine = next(free, None)
        self._others: list[int] = []
        self.tell(now)
        self.look(now)

    def look(self, now: float) -> None:
        """See who is there. To be called about once a second: who comes later is not seen yet."""
        self._others = [
            at * _ROW.size
            for at, row in enumerate(self._rows())
            if at != self._mine and now - row[0] < SILENT_S
        ]

    def tell(self, now: float, connections: int | None = None, taken: int = 0) -> None:
        """Be there still; `connections` that are open, `taken` since it was last told."""
        self._open = self._open if connections is None else connections
        self._taken += taken
        self._write((now, self._open, self._taken))

    def is_next(self, now: float) -> bool:
        """Whether nobody who is there has less to do."""
        mine = (self._open, self._taken)
        for at in self._others:
            told, connections, taken = _ROW.unpack_from(self._memory, at)
            if (connections, taken) < mine and now - told < SILENT_S:
                return False
        return True

    def is_alone(self, now: float) -> bool:
        """Whether nobody else is there."""
        self.look(now)
        return not self._others

    def leave(self) -> None:
        """Be no longer there for the others."""
        self._write(NOBODY)
        self._mine = None

    def close(self) -> None:
        """Leave, and let the page go."""
        self.leave()
        self._memory.close()

    def _rows(self) -> list[tuple[float, int, int]]:
        return list(_ROW.iter_unpack(self._memory[:]))

    def _write(self, row: tuple[float, int, int]) -> None:
        # More listeners than rows: the others do not see this one, which is never passed over.
        if self._mine is not None:
            _ROW.pack_into(self._memory, self._mine * _ROW.size, *row)
