"""Counts of the last minutes, hours and days."""

from router.slo.objectives import DAY_S
from router.slo.windows import HOUR_S, MINUTE_S, PERIOD, History, Ring, Tally, summed

T0 = 1_000_000.0 * HOUR_S


def ring(*ats, size=10, now=T0) -> Ring:
    made = Ring(MINUTE_S, size, now=now)
    for at in ats:
        made.note(is_good=False, now=at)
    return made


def test_a_window_has_what_happened_in_it():
    """The bucket that is under way, and as many before it as the window is long."""
    found = ring(T0, T0 + 60, T0 + 120, T0 + 300)

    assert found.within(120, now=T0 + 300).bad == 1
    assert found.within(240, now=T0 + 300).bad == 3
    assert found.within(300, now=T0 + 300).bad == 4


def test_events_older_than_the_ring_are_gone():
    """Its memory is bounded; its places are used again."""
    found = ring(T0, T0 + 60)

    assert found.within(9 * 60, now=T0 + 9 * 60).bad == 2
    assert found.within(9 * 60, now=T0 + 10 * 60).bad == 1
    assert found.within(9 * 60, now=T0 + 1e9) == Tally(0, 0)


def test_a_window_is_never_longer_than_the_ring():
    """What is asked for beyond it is not there."""
    assert ring(T0).within(1e9, now=T0).bad == 1


def test_a_clock_that_goes_back_loses_nothing():
    """Events go on in the newest bucket."""
    found = ring(T0 + 600, T0, T0 - 1e6)

    assert found.within(60, now=T0 - 1e6).bad == 3


def test_a_ring_tells_its_buckets_by_their_age():
    """Newest first, without those that have nothing."""
    found = ring(T0, T0 + 60, T0 + 60)
    found.note(is_good=True, now=T0 + 200)

    assert found.aged(now=T0 + 240) == [(1, 1, 0), (3, 0, 2), (4, 0, 1)]


def test_the_past_is_added_where_it_belongs():
    """What is older than the ring is dropped; what is of the future is of now."""
    found = ring()
    for at in (T0 - 120, T0 - 10 * 60, T0 + 9_999):
        found.add(Tally(1, 2), at, now=T0)

    assert found.aged(now=T0) == [(0, 1, 2), (2, 1, 2)]


def test_a_history_has_every_window():
    """Minutes for the short ones, hours for the long ones and the period."""
    history = History(now=T0 - 30 * DAY_S)
    for ago_s in (0, 10 * 60, 45 * 60, 5 * HOUR_S, 2 * DAY_S, 10 * DAY_S, 25 * DAY_S)[::-1]:
        history.note(is_good=ago_s > 60, now=T0 - ago_s)

    found = history.tallies(28 * DAY_S, now=T0)

    assert {name: tally.total for name, tally in found.items()} == {
        "5m": 1,
        "30m": 2,
        "1h": 3,
        "6h": 4,
        "3d": 5,
        PERIOD: 7,
    }
    assert found[PERIOD] == Tally(6, 1)
    assert history.latest == T0


def test_a_history_is_taken_over_at_its_age():
    """By the next process, some time later."""
    first, later = History(now=T0), History(now=0.0)
    first.note(is_good=False, now=T0)
    first.note(is_good=True, now=T0 + 120)

    later.adopt(*first.aged(now=T0 + 180), passed_s=3 * 60, now=9_000.0)

    found = later.tallies(28 * DAY_S, now=9_000.0)
    assert found["5m"] == Tally(1, 0)
    assert found["30m"] == found[PERIOD] == Tally(1, 1)


def test_replicas_are_summed_window_by_window():
    """One may not know of a window."""
    assert summed([{"5m": Tally(1, 2)}, {"5m": Tally(3, 4), "1h": Tally(5, 6)}]) == {
        "5m": Tally(4, 6),
        "1h": Tally(5, 6),
    }
    assert summed([]) == {}
