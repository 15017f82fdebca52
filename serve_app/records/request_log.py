"""The request log: one JSON line a finished request, never a word of its prompt.

Each ingress replica writes a file of its own, `requests-ID.jsonl`, so no line is
ever torn by another process. A file that is full becomes `.1`, the one before `.2`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from serve_app.config.private_files import private, private_folder
from serve_app.config.records import RequestLogConfig
from serve_app.records.request_record import RequestRecord

FIELDS = (
    "time",
    "request_id",
    "tenant",
    "tier",
    "lane",
    "reason",
    "score",
    "threshold",
    "classifier",
    "shadow_score",
    "shadow_classifier",
    "code",
    "prompt_tokens",
    "completion_tokens",
    "duration_s",
    "ttft_s",
    "background",
    "model",
    "tool_outcomes",
    "tool_repairs",
    "trace_id",
    "cached_tokens",
    "session",
    "propensity",
    "experiment",
    "arm",
)


class RequestLog:
    """The log file of one ingress replica; used by one thread."""

    def __init__(self, folder: Path, replica: str, config: RequestLogConfig) -> None:
        self._folder = folder
        self._path = folder / f"requests-{replica}.jsonl"
        self._config = config

    def write(self, records: list[RequestRecord]) -> None:
        private_folder(self._folder)
        lines: list[bytes] = []
        room = self._room()
        for record in records:
            line = log_line(record)
            if len(line) > room:
                self._append(lines)
                self._rotate()
                lines, room = [], self._config.max_bytes
            lines.append(line)
            room -= len(line)
        self._append(lines)

    def prune(self, now: datetime | None = None) -> None:
        """Delete the files of replicas that are gone, `keep_days` after their last line.

        A live replica opens its file anew for each batch, so it loses nothing but age.
        """
        oldest = (now or datetime.now(UTC)) - timedelta(days=self._config.keep_days)
        for path in self._folder.glob("requests-*.jsonl*"):
            if path.stat().st_mtime < oldest.timestamp():
                path.unlink(missing_ok=True)

    def _room(self) -> int:
        """Bytes that still fit."""
        used = self._path.stat().st_size if self._path.exists() else 0
        return self._config.max_bytes - used

    def _append(self, lines: list[bytes]) -> None:
        if lines:
            # Readable by its owner only: it names tenants.
            with open(self._path, "ab", opener=private) as file:
                file.write(b"".join(lines))

    def _rotate(self) -> None:
        if not self._path.exists():
            return
        older = (f"{self._path.name}.{n}" for n in range(1, self._config.keep + 1))
        files = [self._path, *map(self._path.with_name, older)]
        files[-1].unlink(missing_ok=True)
        for to, file in zip(files[:0:-1], files[-2::-1], strict=True):
            if file.exists():
                file.rename(to)


def log_line(record: RequestRecord) -> bytes:
    """A record as a line: `FIELDS`, and nothing else that it holds."""
    fields = {name: getattr(record, name) for name in FIELDS}
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z)
