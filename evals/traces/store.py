"""Reading kept traces: the one way in for replays, estimates and experiments.

    for trace in read_traces(folder, days=(date(2026, 11, 1), None), lane="chat"):
        ...

A store is a folder with one folder a day, each with the Parquet files of every ingress replica
(`evals.traces.folder`). What is read comes day by day, in the order of time, a row group of each
file at once: so a store may be larger than memory. A file that cannot be read is passed over, and
told.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, time
from functools import reduce
from heapq import heappop, heappush
from operator import and_
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evals.traces.feedback import Feedback
from evals.traces.folder import Days, counting, locked, parts_by_day
from evals.traces.parts import batches_of
from evals.traces.trace import Trace, trace_of

OnDamaged = Callable[[Path, str], None]
"""Told of a file that cannot be read (on), and why."""


class DamagedTraces(UserWarning):
    """A file of traces could not be read."""


def warn_damaged(path: Path, why: str) -> None:
    warnings.warn(DamagedTraces(f"{path}: not read: {why}"), stacklevel=2)


def read_traces(
    folder: Path,
    *,
    days: Days | None = None,
    tenant: str | None = None,
    lane: str | None = None,
    code: str | None = None,
    feedback: Path | None = None,
    on_damaged: OnDamaged = warn_damaged,
) -> Iterator[Trace]:
    """Read traces in the order in which the requests ended.

    Args:
        folder: a store, or one file of traces.
        days: of the requests' ends.
        tenant: only what is this tenant's; so with `lane` and `code`.
        lane: by name.
        code: as in `Trace.code`.
        feedback: a `feedback.db`, whose thumbs and preferences are joined.
        on_damaged: called for a file that cannot be read.

    """
    wanted = _filter(tenant, lane, code, days if folder.is_file() else None)
    joining = nullcontext() if feedback is None else Feedback(feedback)
    with locked(folder, exclusive=False), joining as said:
        for paths in _by_day(folder, days):
            opened = (_open(path, wanted, said, on_damaged) for path in paths)
            yield from _in_order([part for part in opened if part is not None])


def _by_day(folder: Path, days: Days | None) -> Iterator[list[Path]]:
    if folder.is_file():
        yield [folder]
        return
    for _, paths in parts_by_day(folder, days):
        yield counting(paths)[0]


def _filter(tenant: str | None, lane: str | None, code: str | None, days: Days | None) -> Any:
    """Return what rows have to be; None: anything. A file alone is in no day's folder."""
    given = {"tenant": tenant, "lane": lane, "code": code}
    wanted = [pc.field(name) == value for name, value in given.items() if value is not None]
    first, last = days or (None, None)
    if first is not None:
        wanted.append(pc.field("time") >= datetime.combine(first, time(), UTC))
    if last is not None:
        wanted.append(pc.field("time") <= datetime.combine(last, time.max, UTC))
    return reduce(and_, wanted) if wanted else None


@dataclass(frozen=True, slots=True)
class _Part:
    """One file.

    Attributes:
        first: no trace of it is older.

    """

    path: Path
    first: datetime
    traces: Iterator[Trace]


def _open(
    path: Path, wanted: Any, feedback: Feedback | None, on_damaged: OnDamaged
) -> _Part | None:
    """Read what a file says of itself; None: nothing is in it, or it cannot be read."""
    try:
        first = _first_time(path)
    except (OSError, pa.ArrowException) as error:
        on_damaged(path, str(error))
        return None
    if first is None:
        return None
    return _Part(path, first, _traces(path, wanted, feedback, on_damaged))


def _first_time(path: Path) -> datetime | None:
    with pq.ParquetFile(path) as file:
        found, column = file.metadata, file.schema_arrow.get_field_index("time")
        groups = [found.row_group(n).column(column) for n in range(found.num_row_groups)]
        told = [x.statistics.min for x in groups if x.statistics and x.statistics.has_min_max]
        if not found.num_rows:
            return None
    # Files of other writers may say nothing: theirs are opened first.
    return min(told) if len(told) == len(groups) else datetime.min.replace(tzinfo=UTC)


def _traces(
    path: Path, wanted: Any, feedback: Feedback | None, on_damaged: OnDamaged
) -> Iterator[Trace]:
    try:
        for batch in batches_of(path, wanted):
            traces = [trace_of(row) for row in batch.to_pylist()]
            yield from traces if feedback is None else feedback.joined(traces)
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        on_damaged(path, str(error))


def _in_order(parts: list[_Part]) -> Iterator[Trace]:
    """Merge the files of a day; each is opened when its first trace may be the next."""
    waiting = deque(sorted(parts, key=lambda part: part.first))
    heads: list[tuple[datetime, int, Trace, Iterator[Trace]]] = []
    opened = 0
    while waiting or heads:
        while waiting and (not heads or waiting[0].first <= heads[0][0]):
            opened += 1
            _push(heads, opened, waiting.popleft().traces)
        if heads:
            _, number, trace, rest = heappop(heads)
            yield trace
            _push(heads, number, rest)


def _push(
    heads: list[tuple[datetime, int, Trace, Iterator[Trace]]], number: int, rest: Iterator[Trace]
) -> None:
    trace = next(rest, None)
    if trace is not None:
        # No two heads have one number: traces are never compared.
        heappush(heads, (trace.time, number, trace, rest))
