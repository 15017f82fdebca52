"""Usage is counted once, and quotas are held by it."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from router.errors import RejectReason
from router.limits.quota import EVEN_WEIGHTS, QuotaConfig, TokenWeights
from serve_app.tenancy.store import Counts, StoreError
from tests.unit.serve_app.tenancy.usage_made import Clock, begin, kill, make_meter, spend, total

DAILY = QuotaConfig(tokens_per_day=1000)


@pytest.fixture
def meter(store):
    return make_meter(store)


def refusal(meter, tokens, quotas=DAILY, weights=EVEN_WEIGHTS, tenant="acme"):
    return meter.refusal(tenant, quotas, weights, tokens)


def test_a_request_is_in_the_store_after_the_next_flush(meter, store):
    """With its day, tenant and lane."""
    meter.end(begin(meter), Counts(1, 7, 2, 3))
    assert total(store) == Counts()

    meter.flush()
    meter.flush()

    assert store.usage("2026-03-04", "2026-03-04") == {
        ("2026-03-04", "acme", "chat"): Counts(1, 7, 2, 3)
    }


def test_a_request_that_used_nothing_is_not_counted(meter, store):
    """Refused, or its lane had no replica."""
    meter.end(begin(meter), None)

    meter.flush()

    assert total(store) == Counts()


def test_ending_twice_counts_once(meter, store):
    """Whatever calls it."""
    number = begin(meter)
    for _ in range(2):
        meter.end(number, Counts(1, 7, 2, 3))

    meter.flush()

    assert total(store).requests == 1


def test_a_quota_counts_what_is_pending_open_and_stored_each_once(meter):
    """At every moment of a request's way into the store."""
    number = begin(meter, reserved=400)
    assert refusal(meter, 600) is None
    assert refusal(meter, 601) is not None

    meter.end(number, Counts(1, 100, 0, 300))
    assert refusal(meter, 600) is None
    assert refusal(meter, 601) is not None

    for _ in range(2):
        meter.flush()
        assert refusal(meter, 600) is None
        assert refusal(meter, 601) is not None


def test_a_reservation_becomes_what_was_used(meter):
    """A wrong estimate does not stay."""
    number = begin(meter, reserved=1000)
    assert refusal(meter, 1) is not None

    meter.end(number, Counts(1, 100, 0, 100))

    assert refusal(meter, 800) is None


def test_an_answer_that_outgrows_its_estimate_holds_what_it_used(meter):
    """As of the last flush."""
    begin(meter, reserved=100, progress=lambda: (100, 500))
    assert refusal(meter, 900) is None

    meter.flush()

    assert refusal(meter, 401).reason is RejectReason.TOKEN_QUOTA
    assert refusal(meter, 400) is None


def test_another_replica_s_usage_and_reservations_count_after_a_flush_of_both(meter, store):
    """One quota over all ingress replicas."""
    peer = make_meter(store)
    spend(peer, 300)
    begin(peer, reserved=200)
    assert refusal(meter, 1000) is None

    peer.flush()
    meter.flush()

    assert refusal(meter, 500) is None
    assert refusal(meter, 501) is not None


def test_a_quota_comes_back_with_its_period(store):
    """The day's at midnight, the month's on the first."""
    clock = Clock()
    meter = make_meter(store, clock=clock)
    both = QuotaConfig(tokens_per_day=100, tokens_per_month=150)
    spend(meter, 100)
    meter.flush()
    assert refusal(meter, 1, both).retry_after_s == 12 * 3600

    clock.now += timedelta(days=1)
    assert refusal(meter, 50, both) is None
    assert refusal(meter, 51, both).retry_after_s > 24 * 3600

    clock.now += timedelta(days=30)
    meter.flush()
    assert refusal(meter, 100, both) is None


def test_weights_count_at_reading(meter):
    """A change of weights holds for what was used before, too."""
    spend(meter, 100)
    meter.flush()

    assert refusal(meter, 801, weights=TokenWeights(completion=2)) is not None
    assert refusal(meter, 800, weights=TokenWeights(completion=2)) is None


def test_tokens_that_weigh_nothing_are_counted_all_the_same(meter, store):
    """Two open at once: neither holds anything, and both end."""
    nothing = TokenWeights(prompt=0, cached=0, completion=0)
    first, second = (meter.begin("acme", "chat", nothing, 0.0, lambda: (5, 5)) for _ in range(2))
    meter.flush()

    meter.end(first, Counts(1, 2, 0, 3))
    meter.end(second, Counts(1, 2, 0, 3))
    meter.flush()

    assert total(store) == Counts(2, 4, 0, 6)
    assert refusal(meter, 1000, weights=nothing) is None


def test_quotas_are_each_tenant_s_own(meter):
    """Spent by one, whole for another."""
    spend(meter, 1000)

    assert refusal(meter, 1) is not None
    assert refusal(meter, 1000, tenant="other") is None


def test_a_new_replica_knows_what_was_used_before_it(store, meter):
    """A restart gives nobody a new quota."""
    spend(meter, 1000)
    meter.flush()

    fresh = make_meter(store, flush_s=3600)
    fresh.start()

    assert refusal(fresh, 1) is not None
    fresh.close()


@pytest.mark.parametrize("is_committed", [False, True])
def test_a_batch_whose_fate_is_unknown_counts_once(meter, store, monkeypatch, is_committed):
    """The store failed before or after its commit."""
    spend(meter, 10)
    real = type(store).record

    def broken(self, writer, batch):
        if is_committed:
            real(self, writer, batch)
        raise StoreError("the connection is lost")

    monkeypatch.setattr(type(store), "record", broken)
    with pytest.raises(StoreError):
        meter.flush()
    spend(meter, 5)
    assert refusal(meter, 986) is not None
    monkeypatch.undo()

    meter.flush()
    meter.flush()

    assert total(store) == Counts(2, 0, 0, 15)
    assert refusal(meter, 986) is not None
    assert refusal(meter, 985) is None


def test_a_killed_replica_s_requests_are_counted_by_the_next(meter, store):
    """Ended ones exactly, open ones as of the last flush."""
    spend(meter, 10)
    begin(meter, progress=lambda: (20, 3))
    ending = begin(meter, progress=lambda: (20, 4))
    meter.flush()
    spend(meter, 1)
    meter.end(ending, Counts(1, 20, 5, 9))
    begin(meter, progress=lambda: (500, 500))
    kill(meter)

    peer = make_meter(store, flush_s=0.001)
    peer.start()
    while list(store.path.with_name("usage").glob(f"{meter.usage_log.writer}.*")):
        peer.thread.join(0.01)
    peer.close()

    # 10 + 1 + the one that ended + the one that was open at the flush.
    assert total(store) == Counts(4, 40, 5, 10 + 1 + 9 + 3)


def test_a_replica_that_ends_in_order_leaves_nothing_but_its_usage(file_store):
    """No usage log, and no trace of the writer."""
    store = file_store
    meter = make_meter(store, flush_s=3600)
    meter.start()
    spend(meter, 10)

    meter.close()

    assert total(store).completion == 10
    assert list(store.path.with_name("usage").iterdir()) == []
    with closing(sqlite3.connect(store.path)) as db:
        assert db.execute("SELECT count(*) FROM writers").fetchone() == (0,)


def test_a_usage_log_that_cannot_be_written_costs_the_request_nothing(store, monkeypatch):
    """It counts unless the process is killed before its flush."""
    lost = []
    meter = make_meter(store, on_lost=lambda: lost.append(1))

    def full(finished):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(meter.usage_log, "append", full)
    spend(meter, 10)
    meter.flush()

    assert total(store).completion == 10
    assert lost == [1]


def test_a_store_that_is_away_for_a_while_loses_nothing(store, meter, monkeypatch, caplog):
    """The log hears of it once."""
    gone = sqlite3.OperationalError("unable to open database file")
    monkeypatch.setattr(type(store), "record", lambda *_: (_ for _ in ()).throw(gone))
    for _ in range(3):
        spend(meter, 10)
        assert not meter.try_flush()
    monkeypatch.undo()

    for _ in range(2):
        assert meter.try_flush()

    assert total(store) == Counts(3, 0, 0, 30)
    assert caplog.text.count("cannot be used") == 1
