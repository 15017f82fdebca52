"""Files of a store rewritten: small ones joined to one, a tenant's rows taken out.

The caller holds the store's lock alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evals.traces.folder import counting, joined_into, named, part_path, parts_by_day
from evals.traces.parts import GROUP_ROWS, batches_of, write_batches

SMALL_BYTES = 4 * 2**20
"""A larger file is not joined with others any more."""

JOIN_BYTES = 16 * 2**20
"""Of files that are joined at once: they are sorted in memory, some ten times as long."""


def join_small(paths: Iterable[Path], least: int) -> list[Path]:
    """Join small files of one day with those that are kept as long; return what was written.

    `least`: so many small files are worth the work.
    """
    whole, within = counting(paths)
    for path in within:
        path.unlink(missing_ok=True)
    groups: dict[int, list[Path]] = defaultdict(list)
    for path in whole:
        keep_days = named(path).keep_days
        if keep_days is not None and path.stat().st_size < SMALL_BYTES:
            groups[keep_days].append(path)
    heaps = [(keep, heap) for keep, group in groups.items() for heap in _heaps(group, least)]
    found = (_join(heap, keep_days) for keep_days, heap in heaps)
    return [path for path in found if path is not None]


def _heaps(paths: list[Path], least: int) -> Iterator[list[Path]]:
    """Cut files into heaps that are joined each, in the order of their numbers."""
    heap: list[Path] = []
    size = 0
    for path in sorted(paths, key=lambda x: (named(x).number, x.name)):
        heap.append(path)
        size += path.stat().st_size
        if size >= JOIN_BYTES:
            yield heap
            heap, size = [], 0
    if len(heap) >= max(least, 2):
        yield heap


def _join(paths: list[Path], keep_days: int) -> Path | None:
    """Join files to one in the order of time; None where one of them cannot be read."""
    try:
        table = pa.Table.from_batches([x for path in paths for x in batches_of(path)])
    except (OSError, pa.ArrowException):
        return None
    names = sorted({path.name for path in paths}.union(*map(joined_into, paths)))
    # A name that no writer gives, and no other joining.
    digest = blake2b("/".join(names).encode(), digest_size=6).hexdigest()
    number = max(named(path).number for path in paths)
    to = part_path(paths[0].parent, keep_days, f"joined-{digest}", number)
    ordered = table.sort_by("time").combine_chunks()
    write_batches(to, ordered.to_batches(GROUP_ROWS), joined=names)
    for path in paths:
        path.unlink(missing_ok=True)
    return to


def join_days_before(folder: Path, today: date) -> int:
    """Join the small files of days that are over; return how many files were written."""
    days = [paths for day, paths in parts_by_day(folder) if day < today]
    return sum(len(join_small(paths, least=2)) for paths in days if len(paths) > 1)


@dataclass(slots=True)
class Forgotten:
    """What came of taking a tenant out of a store.

    Attributes:
        damaged: files that could not be read, and stay as they are.

    """

    rows: int = 0
    files: int = 0
    damaged: list[Path] = field(default_factory=list)


def forget_tenant(folder: Path, tenant: str) -> Forgotten:
    """Rewrite the files that have rows of a tenant, without them; empty ones go."""
    done = Forgotten()
    for _, paths in parts_by_day(folder):
        whole, within = counting(paths)
        for path in within:
            path.unlink(missing_ok=True)
        for path in whole:
            try:
                rows = _without(path, tenant)
            except (OSError, pa.ArrowException):
                done.damaged.append(path)
                continue
            done.rows += rows
            done.files += rows > 0
    return done


def _without(path: Path, tenant: str) -> int:
    """Return how many rows of a tenant were in a file."""
    if not _may_have(path, tenant):
        return 0
    others = pc.field("tenant") != tenant
    rows = int(pq.read_metadata(path).num_rows)
    left = write_batches(path, batches_of(path, others))
    if not left:
        path.unlink()
    return rows - left


def _may_have(path: Path, tenant: str) -> bool:
    return any(batch.num_rows for batch in batches_of(path, pc.field("tenant") == tenant))


@dataclass(frozen=True, slots=True)
class DayContent:
    """What is in a store of one day."""

    day: date
    files: int
    rows: int
    bytes: int
    damaged: int


def contents(folder: Path) -> list[DayContent]:
    """Return what is in a store, oldest day first."""
    return [_content(day, counting(paths)[0]) for day, paths in parts_by_day(folder)]


def _content(day: date, paths: list[Path]) -> DayContent:
    rows = [_rows(path) for path in paths]
    return DayContent(
        day,
        len(paths),
        sum(x for x in rows if x is not None),
        sum(path.stat().st_size for path in paths),
        rows.count(None),
    )


def _rows(path: Path) -> int | None:
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return None
