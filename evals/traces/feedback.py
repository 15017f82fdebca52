"""What users said of answers, looked up in `feedback.db` for traces that are read."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from evals.traces.trace import Trace

_THUMBS = {"up": 1, "down": -1}

# Fewer than the 999 parameters that any SQLite takes.
_MOST = 500


class Feedback:
    """The file of feedback, open to be read; a path that leads to none has none.

    Raises:
        sqlite3.Error: it is damaged.

    """

    def __init__(self, path: Path) -> None:
        self._db = None
        if path.exists():
            self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._db is not None:
            self._db.close()

    def joined(self, traces: Sequence[Trace]) -> list[Trace]:
        """Return the traces with what was said of them."""
        asked: dict[str, list[str]] = defaultdict(list)
        for trace in traces:
            asked[trace.tenant].append(trace.request_id)
        said = {
            (tenant, request): judged
            for tenant, requests in asked.items()
            for start in range(0, len(requests), _MOST)
            for request, judged in self._said(tenant, requests[start : start + _MOST]).items()
        }
        empty: tuple[None, None] = (None, None)
        found = []
        for trace in traces:
            thumb, worse = said.get((trace.tenant, trace.request_id), empty)
            is_silent = thumb is None and worse is None
            found.append(trace if is_silent else replace(trace, thumb=thumb, preferred_over=worse))
        return found

    def _said(
        self, tenant: str, requests: Sequence[str]
    ) -> dict[str, tuple[int | None, str | None]]:
        """Thumb and worse answer of each of the requests that somebody judged."""
        if self._db is None:
            return {}
        marks = ", ".join("?" * len(requests))
        query = (
            "SELECT request_id, max(thumb), max(preferred_over) FROM feedback"  # noqa: S608 - marks
            f" WHERE tenant = ? AND request_id IN ({marks}) GROUP BY request_id"
        )
        with closing(self._db.execute(query, (tenant, *requests))) as rows:
            return {request: (_THUMBS.get(thumb), worse) for request, thumb, worse in rows}
