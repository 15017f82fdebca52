"""Reads the log of a failed start: a named cause and what mends it, or the last words.

An unknown failure is said to be unknown, with its last relevant lines, never guessed at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from serve_app.machine.failures.fingerprint import LANE, Fingerprint
from serve_app.machine.failures.table import FINGERPRINTS

MAX_LOG_BYTES = 8 * 2**20
"""Of a log's end: the last start of a log that several have written to."""
MAX_LINES, MAX_CHARS = 6, 300

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
ORIGIN = re.compile(r"^(?:\((?:\w+:)?[^()\n]{1,80} pid=\d+(?:, ip=[\d.]+)?\) ?)+", re.MULTILINE)
"""What Ray and vLLM put before each line of another process."""
LEVEL = re.compile(r"^(?:ERROR|CRITICAL) [\d-]+ [\d:,.]+ \[[\w.]+:\d+\] ?", re.MULTILINE)
"""What vLLM's logger puts before each line of a traceback."""
LANE_NAME = re.compile(r"\blane(?::|s\.)([A-Za-z][\w-]*)")
SECRET = re.compile(r"\b(?:hf_[A-Za-z0-9]{6,}|pm-\w+-[\w-]+|sk-[\w-]{8,}|Bearer \S+)")
RAISED = re.compile(r"(?:^|[\s.:(])[A-Z]\w*(?:Error|Exception|Exit)\b: *\S|^\S*Error\b|ERROR|FATAL")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a log says of a failed start.

    Attributes:
        name: of the fingerprint; None: nothing known was found.
        cause: a sentence; empty where it is unknown.
        fix: the changed line of the fleet file, or a command; empty where it is unknown.
        lane: whose engine it was, where the log says so.
        lines: what the log says, at most 6 lines of 300 characters, without secrets.

    """

    name: str | None
    cause: str
    fix: str
    lane: str | None
    lines: tuple[str, ...]

    def told(self) -> list[str]:
        """The reading in lines for a terminal."""
        if self.name is None:
            return [
                "The cause is not one that is known here. The last that the log says of it:",
                *(f"  {line}" for line in self.lines),
            ]
        return [f"Cause: {self.cause}", f"Fix:   {self.fix}"]


def read_failure(text: str, *, lane: str | None = None) -> Reading:
    """Name the cause of a failed start.

    Args:
        text: a log, of which the last 8 MiB count, or what Serve says of a deployment.
        lane: whose failure it is, where that is known.

    """
    marked = COLOUR.sub("", text[-MAX_LOG_BYTES:])
    plain = LEVEL.sub("", ORIGIN.sub("", marked))
    for known in FINGERPRINTS:
        found = known.pattern.search(plain)
        if found is not None:
            of = lane or _lane_of(marked, found.group(0).split("\n")[0][:60])
            return _reading(known, found, of)
    return Reading(None, "", "", lane, _last_words(plain))


def read_log(path: Path) -> Reading:
    """Name the cause from a log file.

    Raises:
        OSError: it cannot be read.

    """
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - MAX_LOG_BYTES))
        return read_failure(log.read(MAX_LOG_BYTES).decode(errors="replace"))


def _reading(known: Fingerprint, found: re.Match[str], lane: str | None) -> Reading:
    words = {name: _safe(value or "") for name, value in found.groupdict().items()}
    words["lane"] = lane or LANE
    line = _safe(found.group(0).split("\n")[0])
    return Reading(
        known.name, known.cause.format(**words), known.fix.format(**words), lane, (line,)
    )


def _lane_of(text: str, words: str) -> str | None:
    """The lane that is named on the line with these words, last before it, or first after it."""
    place = max(0, text.find(words))
    end = text.find("\n", place)
    end = len(text) if end < 0 else end
    named = None
    for match in LANE_NAME.finditer(text):
        if named is not None and match.start() >= end:
            break
        named = match[1]
    return named


def _last_words(plain: str) -> tuple[str, ...]:
    """Lines that tell of errors, the last ones; or simply the last ones."""
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    telling = [line for line in lines if RAISED.search(line)] or lines
    # The same line from several processes says it once.
    return tuple(_safe(line) for line in list(dict.fromkeys(telling))[-MAX_LINES:])


def _safe(text: str) -> str:
    return SECRET.sub("…", text)[:MAX_CHARS]
