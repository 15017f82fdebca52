"""Meters that die, and what the store then has."""

from datetime import UTC, datetime

from router.limits.quota import EVEN_WEIGHTS
from serve_app.tenancy.meter import UsageMeter
from serve_app.tenancy.store import Counts

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


class Clock:
    """A wall clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def make_meter(store, **kwargs) -> UsageMeter:
    return UsageMeter(
        store, store.path.with_name("usage"), **{"clock": Clock(), "max_file_bytes": 300, **kwargs}
    )


def begin(meter, tenant="acme", *, reserved=100.0, progress=lambda: (0, 0)) -> int:
    return meter.begin(tenant, "chat", EVEN_WEIGHTS, reserved, progress)


def spend(meter, tokens, tenant="acme") -> None:
    """One whole request of so many completion tokens."""
    meter.end(begin(meter, tenant), Counts(1, 0, 0, tokens))


def kill(meter) -> None:
    """What SIGKILL does to a meter that is not writing."""
    meter.usage_log.close(is_accounted=False)


def total(store) -> Counts:
    sums = Counts()
    for counts in store.usage("2000-01-01", "2100-01-01").values():
        sums = sums.plus(counts)
    return sums
