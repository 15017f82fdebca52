"""What the turns of a lane that shares its cards were like."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from router.swap.terms import Act, Order
from simulator.virtual_time.report import quantile


class Turns:
    """Counts one lane's turns from `skip_s` on.

    Attributes:
        waits: seconds that each request waited for the lane to wake, those that did.
        kept_out: requests that were refused for it, as too late or as too many.

    """

    def __init__(self, skip_s: float) -> None:
        self._skip_s = skip_s
        self.waits = array("f")
        self.passed = self.kept_out = self.wakings = self.loads = self.failures = 0
        self._held_s = 0.0
        self._since: float | None = None

    def told(self, order: Order, now: float, *, is_load: bool) -> None:
        """Note an order to the lane, when it is given."""
        if order.act is not Act.WAKE:
            return
        self._since = max(now, self._skip_s)
        if now >= self._skip_s:
            self.wakings += 1
            self.loads += is_load

    def rested(self, now: float) -> None:
        """Note that its card is free."""
        if self._since is not None:
            self._held_s += max(0.0, now - self._since)
        self._since = None

    def failed(self, now: float) -> None:
        """Note that it did not wake: its card is free."""
        self.failures += now >= self._skip_s
        self.rested(now)

    def row(self, pool: str, until: float) -> TurnsRow:
        held = self._held_s + (0.0 if self._since is None else max(0.0, until - self._since))
        waits = sorted(self.waits)
        return TurnsRow(
            pool=pool,
            wakings=self.wakings,
            loads=self.loads,
            failures=self.failures,
            card_ratio=held / (until - self._skip_s),
            passed=self.passed,
            waited=len(waits),
            wait_p50_s=quantile(waits, 0.5),
            wait_p95_s=quantile(waits, 0.95),
            wait_most_s=waits[-1] if waits else 0.0,
            kept_out=self.kept_out,
        )


@dataclass(frozen=True, slots=True)
class TurnsRow:
    """One lane of a pool. Times are seconds; not a number where nobody waited.

    Attributes:
        wakings: how often it got a card; `loads`: those for which its engine was started anew;
            `failures`: those of either after which it did not serve.
        card_ratio: share of the time for which it had one.
        passed: requests that were let through; `waited`: those of them that had to wait.
        kept_out: requests refused: it was not awake in time, did not wake, or too many waited.

    """

    pool: str
    wakings: int
    loads: int
    failures: int
    card_ratio: float
    passed: int
    waited: int
    wait_p50_s: float
    wait_p95_s: float
    wait_most_s: float
    kept_out: int
