"""Whether an engine that looks well admits nothing: requests wait, and no work gets done."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineProgress:
    """What an engine's scheduler said at one moment.

    Attributes:
        waiting: requests that wait to be admitted.
        running: requests in its batch.
        tokens: read and generated since it started.
        kv_utilization: 0 to 1. While a long prompt is read, blocks fill before any token
            is counted.

    """

    waiting: float
    running: float
    tokens: float
    kv_utilization: float


class StallWatch:
    """Finds out that an engine stands still, from one look to the next.

    It stands still while requests wait and neither tokens, nor running requests, nor blocks
    in use change. An engine that is full and generates counts tokens; one that waits for a
    request's grammar, its KV or its turn that never comes does not.

    Args:
        after_s: how long that may last. Longer than the engine's longest step.

    """

    def __init__(self, after_s: float) -> None:
        self._after_s = after_s
        self._last: EngineProgress | None = None
        self._since: float | None = None

    def observe(self, progress: EngineProgress, *, now: float) -> float | None:
        """Take a look, and return for how many seconds it has stood still, if for too long."""
        has_moved = self._last is None or _work(progress) != _work(self._last)
        self._last = progress
        if progress.waiting <= 0:
            self._since = None
        elif has_moved or self._since is None:
            self._since = now
        return self.stalled_s(now=now)

    def stalled_s(self, *, now: float) -> float | None:
        """Return for how long it has stood still by the last look; None: not for too long."""
        if self._since is None or now - self._since < self._after_s:
            return None
        return now - self._since


def _work(progress: EngineProgress) -> tuple[float, float, float]:
    return progress.tokens, progress.running, progress.kv_utilization
