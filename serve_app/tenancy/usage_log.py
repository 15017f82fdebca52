"""The usage log of one writer: a line for each request that ended.

A line is handed to the operating system before anything else is done with the request,
so a process that is killed loses none: `write` has copied it to memory that is not the
process's. A machine that loses power may lose the last seconds.

Files are `WRITER.N.log`, one after the other; `WRITER.lock` is locked for as long as the
writer lives, and the operating system unlocks it however the process ends. Whoever gets
the lock then may account for what the writer left (`dead_writers`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from serve_app.config.private_files import private_folder
from serve_app.tenancy.store import Counts, Finished, Position, Slot, TenancyStore

MAX_FILE_BYTES = 8 * 1024 * 1024
"""Some 80,000 requests; a file is deleted once the store has all of it."""


class UsageLog:
    """The usage log of this process, in `folder`. Not thread-safe: its owner locks it."""

    def __init__(self, folder: Path, *, max_file_bytes: int = MAX_FILE_BYTES) -> None:
        private_folder(folder)
        self.folder = folder
        self._max_file_bytes = max_file_bytes
        self.writer, self._lock = _locked(folder)
        self._number = 0
        self._offset = 0
        self._fd = self._open()

    @property
    def position(self) -> Position:
        """Where the next line begins."""
        return Position(self._number, self._offset)

    def append(self, finished: Finished) -> None:
        """Hand a line to the operating system, whole or not at all. Raises OSError."""
        line = orjson.dumps([finished.id, *finished.slot, *finished.counts]) + b"\n"
        written = os.write(self._fd, line)
        if written != len(line):
            # Half a line would swallow the next one.
            os.ftruncate(self._fd, self._offset)
            raise OSError(errno.ENOSPC, "no room for a whole line")
        self._offset += len(line)

    def turn(self) -> None:
        """Begin a new file if this one is full; after an OSError the old one is still in use."""
        if self._offset < self._max_file_bytes:
            return
        self._number += 1
        try:
            fd = self._open()
        except OSError:
            self._number -= 1
            raise
        os.close(self._fd)
        self._fd, self._offset = fd, 0

    def forget(self, before: Position) -> None:
        """Delete the files before a position's."""
        for number, path in _files(self.folder, self.writer):
            if number < before.file:
                path.unlink(missing_ok=True)

    def close(self, *, is_accounted: bool) -> None:
        """Close the files, and delete them if the store has everything."""
        os.close(self._fd)
        if is_accounted:
            _delete(self.folder, self.writer)
        os.close(self._lock)

    def _open(self) -> int:
        path = self.folder / f"{self.writer}.{self._number}.log"
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)


@dataclass(frozen=True, slots=True)
class DeadWriter:
    """A writer whose process has ended, while its lock is ours."""

    writer: str
    folder: Path

    def replay(self, since: Position) -> Iterable[Finished]:
        """Yield what it wrote from a position on, without an unfinished last line."""
        for number, path in _files(self.folder, self.writer):
            if number < since.file:
                continue
            data = path.read_bytes()[since.offset if number == since.file else 0 :]
            for line in data[: data.rfind(b"\n") + 1].splitlines():
                with contextlib.suppress(orjson.JSONDecodeError, ValueError, TypeError):
                    yield _finished(orjson.loads(line))

    def delete(self) -> None:
        """Delete its files; the lock file comes last."""
        _delete(self.folder, self.writer)


def dead_writers(folder: Path) -> Iterator[DeadWriter]:
    """Yield writers whose process has ended; each is locked until the next is asked for."""
    for path in sorted(folder.glob("*.lock")):
        try:
            fd = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            continue
        try:
            if _try_lock(fd, path):
                yield DeadWriter(path.stem, folder)
        finally:
            os.close(fd)


def recover_dead(store: TenancyStore, folder: Path) -> None:
    """Add what dead writers left to the store, each exactly once, and delete their files.

    Whoever does it may die at any point and another starts over: the store remembers
    that a writer is accounted for until its files are gone.
    """
    for dead in dead_writers(folder):
        store.recover(dead.writer, dead.replay)
        dead.delete()
        store.forget(dead.writer)


def _locked(folder: Path) -> tuple[str, int]:
    """A new writer's name and its lock."""
    while True:
        writer = uuid.uuid4().hex
        path = folder / f"{writer}.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # Somebody may have taken it for a dead writer's before it was locked.
        if _try_lock(fd, path):
            return writer, fd
        os.close(fd)


def _try_lock(fd: int, path: Path) -> bool:
    """Lock a file, unless another has it or it was deleted meanwhile."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino == os.fstat(fd).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False


def _files(folder: Path, writer: str) -> list[tuple[int, Path]]:
    return sorted((int(path.name.split(".")[1]), path) for path in folder.glob(f"{writer}.*.log"))


def _delete(folder: Path, writer: str) -> None:
    for _, path in _files(folder, writer):
        path.unlink(missing_ok=True)
    (folder / f"{writer}.lock").unlink(missing_ok=True)


def _finished(fields: list[object]) -> Finished:
    number, day, tenant, lane, requests, prompt, cached, completion = fields
    slot = Slot(str(day), str(tenant), str(lane))
    return Finished(_int(number), slot, Counts(*map(_int, (requests, prompt, cached, completion))))


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(type(value).__name__)
    return value
