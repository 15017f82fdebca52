"""A file of JSON lines that one run appends to, so that it can end at any moment and go on."""

from __future__ import annotations

import fcntl
import io
import json
import os
from pathlib import Path
from typing import Any, Self

from serve_app.config.private_files import private

Row = dict[str, Any]


class UsageError(Exception):
    """A file or an option that cannot be used; nothing has been sent yet."""


class RowFile:
    """A file held by one run, mode 0600: its rows may hold prompts.

    Every row goes out in one unbuffered write. Of a row that was cut all the same, by a full
    disk for instance, nothing stays.
    """

    def __init__(self, path: Path) -> None:
        """Open and hold the file, or raise UsageError."""
        try:
            self._file = io.FileIO(path, "ab", opener=private)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            self._hold(path)
            self._mend(path)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another run write."""
        self._file.close()

    def append(self, row: Row) -> None:
        """Write one row, whole. Raises OSError."""
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
        written = self._file.write(line)
        if written != len(line):
            raise OSError(f"{self._file.name}: the disk took a part of a row only")

    def _hold(self, path: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{path}: another run writes to it") from error

    def _mend(self, path: Path) -> None:
        """Cut off a last line that is no whole row."""
        held = path.read_bytes()
        whole = held.rfind(b"\n") + 1
        if whole == len(held):
            return
        try:
            json.loads(held[whole:])
        except ValueError:
            os.truncate(path, whole)
        else:
            self._file.write(b"\n")
