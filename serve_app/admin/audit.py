"""The audit trail: one JSON line for each thing that an admin did, or was refused.

All ingress replicas of a node append to one file, under a lock, before the action is answered.
It is bounded by bytes and age; who fills it with refusals gets a line every few seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import orjson

from serve_app.config.private_files import private, private_folder

Entry = dict[str, Any]

MAX_BYTES = 4 * 1024 * 1024
KEEP = 8
"""Full files that are kept beside the one that is written."""

KEEP_DAYS = 400
TURN_DAYS = 30
"""Age of its first line at which a file is full."""

MAX_TEXT = 256

_KEY = re.compile(r"pm-\w+-[\w-]+", re.IGNORECASE)
"""An API key that somebody has put into a body is not kept."""

MAX_LISTED = 500

BURST = 20
REFILL_S = 5.0
"""Refusals in a row that are noted, and how long until there is room for one more."""


class AuditLog:
    """The files in one folder. Calls block; they raise OSError."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> None:
        self._folder = folder
        self._path = folder / "audit.jsonl"
        self._max_bytes = max_bytes
        self._keep = keep

    def append(self, entry: Entry) -> None:
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        private_folder(self._folder)
        with self._alone():
            if self._is_full(len(line), datetime.now(UTC)):
                self._turn()
            # Readable by its owner only: it names tenants and keys' ids.
            with open(self._path, "ab", opener=private) as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())

    def newest(self, limit: int) -> list[Entry]:
        """Return the last entries, newest first. A line that is no entry is left out."""
        found: list[Entry] = []
        for path in (self._path, *self._older()):
            with contextlib.suppress(FileNotFoundError):
                for line in reversed(path.read_bytes().splitlines()):
                    with contextlib.suppress(orjson.JSONDecodeError):
                        found.append(orjson.loads(line))
                    if len(found) >= limit:
                        return found
        return found

    def prune(self, now: datetime) -> None:
        """Delete files whose last line is older than `KEEP_DAYS`."""
        oldest = (now - timedelta(days=KEEP_DAYS)).timestamp()
        for path in (self._path, *self._older()):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def _older(self) -> list[Path]:
        return [self._folder / f"{self._path.name}.{n}" for n in range(1, self._keep + 1)]

    def _is_full(self, more: int, now: datetime) -> bool:
        try:
            if self._path.stat().st_size + more > self._max_bytes:
                return True
            with self._path.open("rb") as file:
                begun = orjson.loads(file.readline(65_536))["at"]
            return now - datetime.fromisoformat(begun) > timedelta(days=TURN_DAYS)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _turn(self) -> None:
        files = [self._path, *self._older()]
        files[-1].unlink(missing_ok=True)
        for to, file in zip(files[:0:-1], files[-2::-1], strict=True):
            if file.exists():
                file.rename(to)
        self.prune(datetime.now(UTC))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        fd = private(str(self._folder / "audit.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


class RefusalBound:
    """Lets some refusals into the trail and counts the rest.

    Args:
        clock: in seconds.

    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._room = float(BURST)
        self._at = clock()
        self._left_out = 0

    def admit(self) -> int | None:
        """Return how many were left out since the last one that was noted; None: leave it out."""
        now = self._clock()
        self._room = min(float(BURST), self._room + (now - self._at) / REFILL_S)
        self._at = now
        if self._room < 1:
            self._left_out += 1
            return None
        self._room -= 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def entry_of(
    action: str,
    outcome: Literal["done", "refused", "failed"],
    *,
    status: int,
    who: dict[str, Any],
    client: dict[str, Any],
    replica: str,
    request_id: str,
    noted: dict[str, Any],
) -> Entry:
    """Return an entry; texts of it are cut to `MAX_TEXT`.

    `noted` is what the action says of itself: `target`, `before`, `after`, whatever is no secret.
    """
    given = {
        "who": who,
        "client": client,
        "action": action,
        "outcome": outcome,
        "status": status,
        **noted,
        "replica": replica,
        "request_id": request_id,
    }
    cut: Entry = _cut(given)
    return {"id": uuid.uuid4().hex, "at": datetime.now(UTC).isoformat(), **cut}


def merged(parts: list[list[Entry]], limit: int) -> list[Entry]:
    """Return what several nodes have, newest first, each entry once."""
    found = {entry.get("id", ""): entry for part in parts for entry in part}
    return sorted(found.values(), key=lambda x: str(x.get("at")), reverse=True)[:limit]


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_cut(str(key))): _cut(each) for key, each in list(value.items())[:64]}
    if isinstance(value, list | tuple):
        return [_cut(each) for each in value[:64]]
    if isinstance(value, str):
        text = _KEY.sub("pm-…", value)[:MAX_TEXT]
        return "".join(x if x.isprintable() else "?" for x in text)
    return value
