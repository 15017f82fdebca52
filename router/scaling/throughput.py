"""What a full replica gets through, measured while it is full."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

QUEUED = 0.1
"""Of the sequences that run; and two at least."""


@dataclass(frozen=True, slots=True)
class ReplicaReading:
    """One look at a lane replica.

    Attributes:
        at: seconds.
        tokens_total: prompt and answer tokens since it started.
        running: sequences that run.
        waiting: sequences that wait in its engine.
        kv_utilization: 0 to 1.

    """

    at: float
    tokens_total: float
    running: float
    waiting: float
    kv_utilization: float


class Throughput:
    """The tokens a second of a full replica: the mean of the last while.

    A replica is full from `full` of its slots on, of its KV cache with requests waiting, or while
    as many wait as `QUEUED` of those that run: by Little's law they then wait for such a part of an
    answer's time. Fewer prove nothing: at any moment some have come since the last step. Were a
    replica that is half idle taken for full, the load would be many replicas' worth, and with each
    that came the figure would fall again. The rate of a full one
    depends on the mix of prompts and answers (a prompt's token costs a small part of
    an answer's): a mean over `keep_s` is of the lane's mix, where the best is a burst of
    prompts. Old figures are forgotten once there are newer ones.
    """

    def __init__(
        self, slots: int | None, *, full: float = 0.9, over_s: float = 10.0, keep_s: float = 900.0
    ) -> None:
        self._slots, self._full, self._over_s, self._keep_s = slots, full, over_s, keep_s
        # The reading with which each replica's present time of being full began.
        self._full_since: dict[str, ReplicaReading] = {}
        self._rates: deque[tuple[float, float]] = deque()

    def note(self, replica: str, reading: ReplicaReading) -> None:
        if not self._is_full(reading):
            self._full_since.pop(replica, None)
            return
        since = self._full_since.setdefault(replica, reading)
        took_s = reading.at - since.at
        if took_s < self._over_s:
            return
        self._full_since[replica] = reading
        rate = (reading.tokens_total - since.tokens_total) / took_s
        if rate > 0:
            while self._rates and self._rates[0][0] < reading.at - self._keep_s:
                self._rates.popleft()
            self._rates.append((reading.at, rate))

    def retain(self, replicas: frozenset[str]) -> None:
        """Forget the replicas that are gone."""
        self._full_since = {k: v for k, v in self._full_since.items() if k in replicas}

    @property
    def tokens_per_s(self) -> float | None:
        """Return it; None: no replica was full yet."""
        rates = self._rates
        return sum(rate for _, rate in rates) / len(rates) if rates else None

    def _is_full(self, reading: ReplicaReading) -> bool:
        of_slots = self._slots is not None and reading.running >= self._full * self._slots
        of_kv = reading.waiting > 0 and reading.kv_utilization >= self._full
        return of_slots or of_kv or reading.waiting >= max(2.0, QUEUED * reading.running)
