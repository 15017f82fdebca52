"""The request log as columns, read in one pass and bounded memory.

A million lines take about 60 MB: numbers are kept as numbers, and names as codes.
A line that is no JSON object, or is absurdly long, is counted and left out; a field
that is absent or no number is missing in its column.
"""

import gzip
import json
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from classifier.heads import Floats

Codes = NDArray[np.int32]
Mask = NDArray[np.bool_]

NUMBERS = ("score", "threshold", "shadow_score")
NAMES = ("tenant", "lane", "reason", "classifier", "shadow_classifier")
MISSING = -1
# A log line has about 400 bytes. One without an end must not fill the memory.
MAX_LINE_BYTES = 65_536
# Distinct names a column; the rest share one name. Bounds what a broken log can take.
MAX_NAMES = 10_000
MAX_NAME_CHARS = 200
OTHERS = "(others)"


@dataclass(frozen=True)
class Traffic:
    """Requests in file order; every column has shape (requests,).

    Attributes:
        time_s: end of the request, seconds since 1970 in UTC; NaN where missing.
        numbers: `NUMBERS` by name; NaN where missing. Scores are in [0, 1].
        codes: `NAMES` by name, each a place in `names`, or MISSING.
        names: the distinct names of each column.
        bad_lines: lines that could not be read.
        files: how many files were read.

    """

    time_s: Floats
    numbers: dict[str, Floats]
    codes: dict[str, Codes]
    names: dict[str, tuple[str, ...]]
    bad_lines: int = 0
    files: int = 0

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def score(self) -> Floats:
        """Of the classifier that served; NaN where the request was not scored."""
        return self.numbers["score"]

    @property
    def scored(self) -> Mask:
        return ~np.isnan(self.score)

    def take(self, rows: Any) -> "Traffic":
        """The requests of a mask or of places."""
        return Traffic(
            self.time_s[rows],
            {name: column[rows] for name, column in self.numbers.items()},
            {name: column[rows] for name, column in self.codes.items()},
            self.names,
            self.bad_lines,
            self.files,
        )

    def counted(self, column: str) -> list[tuple[str, int]]:
        """The names in `column` and their requests, the most frequent first."""
        codes = self.codes[column]
        count = np.bincount(codes[codes != MISSING], minlength=len(self.names[column]))
        order = np.argsort(-count, kind="stable")
        return [(self.names[column][n], int(count[n])) for n in order if count[n]]

    def has(self, column: str, names: Iterable[str]) -> Mask:
        wanted = set(names)
        codes = [code for code, name in enumerate(self.names[column]) if name in wanted]
        return np.isin(self.codes[column], codes)


def read_traffic(paths: Sequence[Path]) -> Traffic:
    """Read log files, and of directories every `requests-*.jsonl`, rotated or not.

    Raises OSError for a path that cannot be read, ValueError for a directory without logs.
    """
    columns = _Columns()
    files = log_files(paths)
    for path in files:
        for line in log_lines(path):
            columns.add(line)
    return columns.traffic(len(files))


def log_files(paths: Sequence[Path]) -> list[Path]:
    """The files that `paths` stand for, each once."""
    found: dict[Path, None] = {}
    for path in paths:
        inside = sorted(path.glob("requests-*.jsonl*")) if path.is_dir() else [path]
        if not inside:
            message = f"{path} has no requests-*.jsonl"
            raise ValueError(message)
        found.update((file.resolve(), None) for file in inside)
    return list(found)


def log_lines(path: Path) -> Iterator[bytes]:
    """Lines without the empty ones; one that is too long comes as b'' (no JSON)."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
                _skip_line(file)
                yield b""
            elif line.strip():
                yield line


def _skip_line(file: IO[bytes]) -> None:
    while (part := file.readline(MAX_LINE_BYTES)) and not part.endswith(b"\n"):
        pass


@dataclass
class _Columns:
    """Columns that grow; the maker of a Traffic."""

    time_s: "array[float]" = field(default_factory=lambda: array("d"))
    numbers: dict[str, "array[float]"] = field(
        default_factory=lambda: {name: array("d") for name in NUMBERS}
    )
    codes: dict[str, "array[int]"] = field(
        default_factory=lambda: {name: array("i") for name in NAMES}
    )
    places: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in NAMES})
    bad_lines: int = 0

    def add(self, line: bytes) -> None:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            self.bad_lines += 1
            return
        self.time_s.append(_seconds(row.get("time")))
        for name, numbers in self.numbers.items():
            numbers.append(_number(row.get(name), is_score=name != "threshold"))
        for name, codes in self.codes.items():
            codes.append(self._code(name, row.get(name)))

    def _code(self, column: str, name: Any) -> int:
        if not isinstance(name, str):
            return MISSING
        places, name = self.places[column], name[:MAX_NAME_CHARS]
        if name not in places and len(places) >= MAX_NAMES:
            name = OTHERS
        return places.setdefault(name, len(places))

    def traffic(self, files: int) -> Traffic:
        return Traffic(
            np.frombuffer(self.time_s, np.float64),
            {name: np.frombuffer(column, np.float64) for name, column in self.numbers.items()},
            {name: np.frombuffer(column, np.int32) for name, column in self.codes.items()},
            {name: tuple(places) for name, places in self.places.items()},
            self.bad_lines,
            files,
        )


def _seconds(value: Any) -> float:
    """Seconds since 1970 of an ISO time; one without a zone is in UTC."""
    if not isinstance(value, str):
        return math.nan
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return math.nan


def _number(value: Any, *, is_score: bool) -> float:
    """A finite number, a score only within [0, 1]; else NaN."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return math.nan
    if is_score and not 0 <= value <= 1:
        return math.nan
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan
