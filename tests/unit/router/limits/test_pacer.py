"""Tokens a second whose rate changes while tokens wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.limits.contention import CALM_S, Contention, paces
from router.limits.pacer import DUE, ContendedPacer, Pacer, Step


def test_a_rate_that_changes_moves_what_waits():
    """A position stays; the time at which it is reached does not."""
    pacer = Pacer(10, now=0)
    positions = [pacer.book(1, now=0) for _ in range(3)]
    assert pacer.wait_s(positions[2], now=0) == pytest.approx(0.2)

    pacer.set_steps([Step(float("inf"), 2)], now=0.1)

    assert pacer.wait_s(positions[1], now=0.1) == pytest.approx(0)
    assert pacer.wait_s(positions[2], now=0.1) == pytest.approx(0.5)
    assert pacer.backlog(now=0.1) == pytest.approx(2)
    assert pacer.booked == 3


def test_a_lease_runs_down_by_itself():
    """The rate ends when it was said to, though nobody looks in between."""
    pacer = Pacer(0, now=0)
    pacer.set_steps([Step(1.0, 10), Step(3.0, 1)], now=0)
    position = pacer.book(100, now=0)

    assert pacer.wait_s(position + 11, now=0) == pytest.approx(2.0)
    assert pacer.wait_s(position + 13, now=0) == float("inf")
    assert pacer.backlog(now=50) == pytest.approx(88)
    assert pacer.debt_s(now=50) == float("inf")


def test_a_step_of_the_past_is_none():
    """An old lease is not brought back."""
    pacer = Pacer(5, now=10)

    pacer.set_steps([Step(9.0, 10), Step(20.0, 1)], now=10)
    position = pacer.book(2, now=10)

    assert pacer.wait_s(position + 1, now=10) == pytest.approx(1)


def test_a_contended_ceiling_binds_only_in_a_busy_lane():
    """What waits when the lane gets room goes at once; what comes then is owed to nobody."""
    pacer, lane = Pacer(1, now=0), Contention(40, 0)
    contended = ContendedPacer(pacer, lane)
    assert contended.wait_s(contended.book(500, now=0), now=0) == 0
    assert (pacer.backlog(now=0), pacer.booked) == (0, 500)

    lane.observe(40, is_saturated=False, now=0)
    position = [contended.book(1, now=0) for _ in range(9)][-1]
    assert contended.wait_s(position, now=0) == pytest.approx(8)

    lane.observe(10, is_saturated=False, now=1)
    lane.observe(10, is_saturated=False, now=1 + CALM_S)
    assert contended.wait_s(position, now=4) == 0
    contended.book(50, now=4)
    assert pacer.debt_s(now=4) == pytest.approx(5)


def test_a_quiet_lane_does_not_lift_the_limit_in_a_busy_one():
    """Streams of one tenant in both share its pacer: what one owes, the other cannot forgive."""
    pacer = Pacer(10, now=0)
    busy = ContendedPacer(pacer, Contention(40, 40))
    quiet = ContendedPacer(pacer, Contention(40, 0))

    positions = []
    for _ in range(100):
        positions.append(busy.book(1, now=0))
        quiet.book(1, now=0)

    assert busy.wait_s(positions[-1], now=0) == pytest.approx(9.9)
    assert pacer.debt_s(now=0) == pytest.approx(10)


def test_contention_has_hysteresis():
    """At once on, and off only after a calm time well under the mark."""
    lane = Contention(40, 39)
    assert not lane.is_contended
    lane.observe(40, is_saturated=False, now=0)
    assert lane.is_contended
    lane.observe(36, is_saturated=False, now=1)
    lane.observe(30, is_saturated=False, now=2)
    lane.observe(35, is_saturated=False, now=3)
    lane.observe(30, is_saturated=False, now=4)
    lane.observe(30, is_saturated=False, now=4 + CALM_S - 0.1)
    assert lane.is_contended
    lane.observe(30, is_saturated=False, now=4 + CALM_S)
    assert not lane.is_contended
    lane.observe(39, is_saturated=False, now=8)
    assert not lane.is_contended
    lane.observe(0, is_saturated=True, now=9)
    assert lane.is_contended


def test_an_unknown_lane_is_contended():
    """Closed, not open."""
    lane = Contention(40, None)
    assert lane.is_contended
    lane.observe(0, is_saturated=False, now=0)
    lane.observe(0, is_saturated=False, now=CALM_S)
    assert not lane.is_contended
    lane.observe(None, is_saturated=False, now=4)
    assert lane.is_contended


@given(
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 9)), max_size=30),
    st.lists(st.tuples(st.floats(0.1, 20), st.floats(0, 20)), max_size=3),
    st.booleans(),
)
def test_what_is_held_is_what_has_to_wait(turns, leases, contended):
    """`hold` answers as `book` and `wait_s` do for the last, and leaves the same debt."""
    pacers = [Pacer(3, now=0) for _ in range(2)]
    steps = [Step(until, rate) for until, rate in sorted(leases)]
    lane, now = Contention(40, 40 if contended else 0), 0.0
    for pacer in pacers:
        if steps:
            pacer.set_steps(steps, now=0)
    holding, booking = (ContendedPacer(pacer, lane) for pacer in pacers)

    for pause, tokens in turns:
        now += pause
        position = booking.book(tokens, now=now) + max(0, tokens - 1)
        held = holding.hold(tokens, now=now)
        assert held == (position if booking.wait_s(position, now=now) > 0 else DUE)

    first, second = pacers
    assert (first.booked, first.backlog(now=now)) == (second.booked, second.backlog(now=now))


def test_a_rate_binds_where_nothing_is_contended_for():
    """Or where the lane is busy."""
    assert [paces(x) for x in (None, Contention(4, 4), Contention(4, 0))] == [True, True, False]
