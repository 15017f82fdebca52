"""The folder of a store: its lock, names of files, how much is in it, what of it goes, and when.

    traces/
      .lock
      day=2026-11-30/30d-a1b2c3-7.parquet

A file is of one ingress replica (`a1b2c3`), one day in UTC, and of tenants that keep their traces
for one number of days (`30d`): so what is to go goes as whole files. The last number grows, and no
name comes twice.

Ingress replicas write many small files, which are joined. A joined file says in its metadata which
ones are in it: they do not count from the moment on that it is there, and a process that dies
before it has deleted them leaves nothing twice.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

SUFFIX = ".parquet"

JOINED = b"pointsman.joined"
"""Metadata: names of the files whose rows a file has taken over."""

DAY = "day="
LOCK = ".lock"

_NAME = re.compile(r"(?P<keep>\d+)d-(?P<replica>.+)-(?P<number>\d+)\.parquet")
_LEFT_S = 86_400.0
"""A file that is half written has been given up after so long."""

Days = tuple[date | None, date | None]
"""The first and the last day in UTC, both of them in; None: no bound."""


@contextmanager
def locked(folder: Path, *, exclusive: bool, waits: bool = True) -> Iterator[bool]:
    """Hold a store's lock: readers share it, who joins or deletes files has it alone.

    Gives False, and holds nothing, where somebody else has it and `waits` is false. Whoever only
    adds files needs none. A store that was never written is not locked: nobody can be in it.
    """
    path = folder / LOCK
    if not path.exists():
        yield True
        return
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        how = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(fd, how if waits else how | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(fd)


def day_folder(folder: Path, day: date) -> Path:
    """Return a day's folder, made with mode 0700 where it is missing, and with it the lock."""
    found = folder / f"{DAY}{day.isoformat()}"
    if not found.exists():
        found.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(folder / LOCK, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return found


def part_path(folder: Path, keep_days: int, replica: str, number: int) -> Path:
    return folder / f"{keep_days}d-{replica}-{number}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Named:
    """What a file's name says; None for one that somebody else named."""

    keep_days: int | None
    replica: str | None
    number: int


def named(path: Path) -> Named:
    found = _NAME.fullmatch(path.name)
    if found is None:
        return Named(None, None, 0)
    return Named(int(found["keep"]), found["replica"], int(found["number"]))


def day_of(folder: Path) -> date | None:
    """Return which day a folder is for; None: for none."""
    try:
        return date.fromisoformat(folder.name.removeprefix(DAY))
    except ValueError:
        return None


def parts_by_day(folder: Path, days: Days | None = None) -> list[tuple[date, list[Path]]]:
    """Return the days of a store, oldest first, and their files, whether they count or not."""
    first, last = days or (None, None)
    found = []
    for path in sorted(folder.glob(f"{DAY}*")):
        day = day_of(path)
        if day is None or (first and day < first) or (last and day > last):
            continue
        found.append((day, sorted(path.glob(f"[!.]*{SUFFIX}"))))
    return found


def joined_into(path: Path) -> frozenset[str]:
    """Return the names of the files that a file has in it; empty where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        told = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException):
        return frozenset()
    return frozenset(json.loads(told.get(JOINED, b"[]")))


def counting(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the files of a day that count, and those that are in another one of them."""
    paths = list(paths)
    within = {name for path in paths for name in joined_into(path)}
    return [x for x in paths if x.name not in within], [x for x in paths if x.name in within]


def prune(folder: Path, max_bytes: int, today: date, now: float) -> int:
    """Delete what has been kept long enough, then the oldest days' files until the rest fits.

    The lock has to be held. `now`: seconds since 1970. Returns how many files were deleted.
    """
    kept: list[tuple[date, Path, int]] = []
    gone = 0
    for day, paths in parts_by_day(folder):
        for path in paths:
            keep_days = named(path).keep_days
            if keep_days is not None and day + timedelta(days=keep_days) < today:
                path.unlink(missing_ok=True)
                gone += 1
            else:
                kept.append((day, path, path.stat().st_size))
    over = sum(size for _, _, size in kept) - max_bytes
    for _, path, size in kept:
        if over <= 0:
            break
        path.unlink(missing_ok=True)
        over -= size
        gone += 1
    _sweep(folder, now)
    return gone


def _sweep(folder: Path, now: float) -> None:
    """Delete what dead processes left half written, and days that are empty."""
    for path in folder.glob(f"{DAY}*/.*{SUFFIX}.*"):
        if now - path.stat().st_mtime > _LEFT_S:
            path.unlink(missing_ok=True)
    for path in folder.glob(f"{DAY}*"):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
