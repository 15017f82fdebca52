"""The last warnings and errors that this process has logged, for the operators' page."""

from __future__ import annotations

import logging
import re
from collections import deque
from typing import Any

KEPT = 60
MAX_CHARS = 400
KEY = re.compile(r"pm-[0-9a-f]+-[\w-]+|(?i:bearer)\s+\S+")
HIDDEN = "[key]"


class LogRing(logging.Handler):
    """Keeps messages without tracebacks; the same one again only counts."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._rows: deque[dict[str, Any]] = deque(maxlen=KEPT)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self._text(record)
        except Exception:  # noqa: BLE001  # a handler must never fail its caller
            self.handleError(record)
            return
        last = self._rows[-1] if self._rows else None
        if last is not None and last["text"] == text and last["level"] == record.levelname:
            last["count"] += 1
            last["time"] = round(record.created, 3)
            return
        row = {"time": round(record.created, 3), "level": record.levelname, "text": text}
        self._rows.append({**row, "count": 1})

    def _text(self, record: logging.LogRecord) -> str:
        text = " ".join(record.getMessage().split())
        kind = record.exc_info[0] if record.exc_info else None
        if kind is not None:
            # Its words may quote what a client sent; its name does not.
            text = f"{text} ({kind.__name__})"
        return KEY.sub(HIDDEN, text)[:MAX_CHARS]

    def rows(self) -> list[dict[str, Any]]:
        """Return copies, oldest first."""
        return [dict(row) for row in self._rows]


def keep_log(logger: logging.Logger) -> LogRing:
    """Keep what a logger says from now on."""
    ring = LogRing()
    logger.addHandler(ring)
    return ring
