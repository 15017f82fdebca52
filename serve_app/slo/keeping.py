"""Counts of objectives that outlive their process: a small file for each ingress replica.

A replica writes its own every minute and when it ends. One that begins, or meets it later,
takes over what an ended replica left, or what nobody has written to for a while: it renames the
file first, which only one can do. A file that cannot be read is forgotten: alarms start with
less history then.

What is lost: the last minute of a replica that was killed. What is in its file is missing in
the sums for `ABANDONED_S`, until it is taken over. Where the wall clock is set forward by more
than that, replicas may take over each other's files, and count them twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from router.slo.objectives import Objective
from router.slo.windows import HOURS, MAX_PERIOD_S, MINUTES, Aged
from serve_app.config.files import wall_s
from serve_app.config.private_files import write_private
from serve_app.slo.book import MAX_SERIES, SloBook

logger = logging.getLogger("ray.serve")

WRITE_EVERY_S = 60.0
ABANDONED_S = 4 * WRITE_EVERY_S
"""A file that was not written to for so long has lost its replica."""

MAX_BYTES = 16 * 2**20
"""A series takes 15 kB at most in a file, and usually a tenth of that."""

MAX_FILES = 64
"""Taken over at a time; there is one for each replica that ended since the last look."""

FOLDER = "slo"
OWN, LEFT = ".json", ".left"


class SloKeeper:
    """Owns the file of one ingress replica in a folder that it shares with the others."""

    def __init__(self, book: SloBook, folder: Path, replica: str) -> None:
        self._book, self._folder = book, folder
        self._path = folder / f"{replica}{OWN}"
        # A thread may still write while the replica ends: not after what it leaves.
        self._turn, self._is_closed = threading.Lock(), False
        # Files whose counts are in the book, and not yet in a file of our own.
        self._adopted: list[Path] = []

    async def run(self) -> None:
        """Take over and write, for ever."""
        while True:
            try:
                await self.look()
            except Exception:
                # Counting goes on without the file.
                logger.exception("slo: the counts could not be kept")
            await asyncio.sleep(WRITE_EVERY_S)

    async def look(self) -> None:
        """Take over what others left, and write what is there."""
        for path, kept in await asyncio.to_thread(self._take_over):
            adopt(self._book, kept, wall_s())
            self._adopted.append(path)
        series = []
        for one in _exported(self._book):
            series.append(one)
            # Streams go on between two of them.
            await asyncio.sleep(0)
        await asyncio.to_thread(self._keep, series)

    def close(self) -> None:
        """Leave the counts to whoever comes next. Blocks; nothing is counted any more."""
        try:
            with self._turn:
                self._is_closed = True
                self._write(list(_exported(self._book)), LEFT)
                self._path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("slo: the counts were not kept: %s", error)

    # -- on a thread ----------------------------------------------------------

    def _keep(self, series: list[Any]) -> None:
        with self._turn:
            if not self._is_closed:
                self._write(series, OWN)

    def _write(self, series: list[Any], suffix: str) -> None:
        if series:
            text = orjson.dumps({"version": 1, "at": wall_s(), "series": series}).decode()
            write_private(self._path, text).replace(self._path.with_suffix(suffix))
        while self._adopted:
            self._adopted.pop().unlink(missing_ok=True)

    def _take_over(self) -> list[tuple[Path, dict[str, Any]]]:
        """Claim what nobody owns, and read it."""
        found = []
        for path in sorted(self._folder.glob("*.*"))[:MAX_FILES]:
            if self._is_closed or path == self._path or not _is_abandoned(path):
                continue
            # Until its counts are in a file of our own, they are in this one.
            claimed = self._path.with_suffix(f".{uuid.uuid4().hex[:8]}.claimed{OWN}")
            with contextlib.suppress(FileNotFoundError):
                # Young again, so that nobody claims it a second time.
                os.utime(path)
                path.rename(claimed)
                found.append((claimed, _read(claimed)))
        return found


def _is_abandoned(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        is_old = wall_s() - path.stat().st_mtime > ABANDONED_S
        return path.suffix == LEFT or (path.suffix == OWN and is_old)
    return False


def _read(path: Path) -> dict[str, Any]:
    """Return what a file holds; nothing where that is no counts."""
    if path.stat().st_size > MAX_BYTES:
        logger.warning("slo: %s is too large to be counts; it is forgotten", path)
        return {}
    try:
        found = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        logger.warning("slo: %s is damaged; its counts are forgotten", path)
        return {}
    return found if isinstance(found, dict) else {}


def _exported(book: SloBook) -> Iterator[list[Any]]:
    """Each series as it is kept: its names, then its buckets of minutes and of hours by age."""
    now = time.monotonic()
    for (objective, lane, tier), history in book.histories().items():
        minutes, hours = history.aged(now=now)
        if hours:
            yield [objective, lane, tier, minutes, hours]


def adopt(book: SloBook, kept: dict[str, Any], wall: float) -> None:
    """Add kept counts to those of this replica. What is no count is passed over.

    A wall clock that went back makes them as old as they were.
    """
    at, listed = kept.get("at"), kept.get("series")
    if not isinstance(at, int | float) or not isinstance(listed, list):
        return
    passed_s = max(0.0, wall - at)
    if passed_s > MAX_PERIOD_S:
        return
    now = time.monotonic()
    for series in listed[:MAX_SERIES]:
        try:
            objective, lane, tier, minutes, hours = series
            key = Objective(objective), str(lane), str(tier)
            aged = _buckets(minutes, MINUTES), _buckets(hours, HOURS)
        except (TypeError, ValueError):
            continue
        book.history(key, now).adopt(*aged, passed_s, now=now)


def _buckets(listed: list[Any], most: int) -> list[Aged]:
    """Check a list of buckets. Raises TypeError or ValueError where it is none."""
    found = [(age, good, bad) for age, good, bad in listed[:most]]
    if not all(isinstance(x, int) and 0 <= x < 2**53 for bucket in found for x in bucket):
        raise ValueError("a bucket is an age and two counts")
    return found
