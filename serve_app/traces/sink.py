"""Traces of one ingress replica on their way into files.

Used by the writer's thread alone, and after it has ended by whoever closes. What waits for its
file is at most `flush_s` old and `BUFFER_BYTES` long: so much a killed process loses.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

from evals.traces.folder import day_folder, locked, named, part_path, parts_by_day, prune
from evals.traces.trace import Trace
from serve_app.traces.kept import Kept

logger = logging.getLogger("ray.serve")

BUFFER_BYTES = 8 * 2**20
"""Of rows that wait; a file is written when there are more, whenever that is."""

JOIN_FROM = 16
"""So many small files of one day are joined while it lasts."""

TIDY_S = 3600.0
"""Between looks at days that are over."""

Row = Mapping[str, Any]


def _utc() -> datetime:
    return datetime.now(UTC)


class TraceSink:
    """Completes traces, gathers them, and writes a file of each day and number of days.

    Args:
        folder: the store's.
        replica: in the names of its files.
        complete: makes a row's trace whole; a trace for which it fails is lost, and counted.
        on_lost: called with the number of traces lost.

    """

    def __init__(
        self,
        folder: Path,
        replica: str,
        max_bytes: int,
        complete: Callable[[Kept], Trace],
        *,
        on_lost: Callable[[int], None],
        clock: Callable[[], datetime] = _utc,
    ) -> None:
        self._folder, self._replica, self._max_bytes = folder, replica, max_bytes
        self._complete, self._on_lost, self._clock = complete, on_lost, clock
        self._rows: dict[tuple[date, int], list[Row]] = defaultdict(list)
        self._waiting = 0
        self._numbers: dict[date, int] = {}
        self._tidied = float("-inf")
        self._told = float("-inf")
        self.taken_bytes = 0

    def write(self, batch: list[Kept]) -> None:
        """Take traces in, and write files when enough of them wait."""
        for kept in batch:
            row = self._row(kept)
            self.taken_bytes += kept.size
            if row is not None:
                self._rows[kept.trace.time.date(), kept.keep_days].append(row)
                self._waiting += _size(row)
            if self._waiting >= BUFFER_BYTES:
                self.flush()
            # The event loop of this process may have waited for the interpreter.
            time.sleep(0)

    def _row(self, kept: Kept) -> Row | None:
        try:
            return self._complete(kept).row()
        except Exception as error:  # noqa: BLE001 - an operator's function may raise anything
            self._lose(1, "one cannot be redacted", error)
            return None

    def _lose(self, traces: int, why: str, error: Exception) -> None:
        """Count what is lost, and say once an hour why."""
        self._on_lost(traces)
        now = self._clock().timestamp()
        if now - self._told >= TIDY_S:
            self._told = now
            # The messages of others may quote a trace.
            said = str(error) if isinstance(error, OSError) else type(error).__name__
            logger.warning("traces: %s, and is dropped: %s", why, said)

    def tend(self) -> None:
        """Write what waits; delete and join what is due."""
        self.flush()
        now = self._clock()
        with locked(self._folder, exclusive=True, waits=False) as is_mine:
            if is_mine:
                self._tidy(now)

    def flush(self) -> None:
        """Write what waits; what cannot be written is lost."""
        rows, self._rows = self._rows, defaultdict(list)
        self._waiting = 0
        for (day, keep_days), group in rows.items():
            try:
                self._write(day, keep_days, group)
            except Exception as error:  # noqa: BLE001 - a full disk must not end the thread
                self._lose(len(group), "a file cannot be written", error)

    def _write(self, day: date, keep_days: int, rows: list[Row]) -> None:
        # With it comes pyarrow, 45 MiB, for who keeps traces alone.
        from evals.traces.parts import write_rows

        folder = day_folder(self._folder, day)
        if day not in self._numbers:
            self._numbers = {day: max((named(x).number for x in folder.iterdir()), default=0)}
        self._numbers[day] += 1
        path = part_path(folder, keep_days, self._replica, self._numbers[day])
        write_rows(path, sorted(rows, key=itemgetter("time")))

    def _tidy(self, now: datetime) -> None:
        from evals.traces.joining import SMALL_BYTES, join_days_before, join_small

        today = now.date()
        prune(self._folder, self._max_bytes, today, now.timestamp())
        for _, paths in parts_by_day(self._folder, (today, today)):
            if sum(_is_under(SMALL_BYTES, path) for path in paths) >= JOIN_FROM:
                join_small(paths, JOIN_FROM)
        if now.timestamp() - self._tidied >= TIDY_S:
            self._tidied = now.timestamp()
            join_days_before(self._folder, today)


def _is_under(size: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return path.stat().st_size < size
    return False


def _size(row: Row) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, str))
