"""How fast a budget is spent, and when somebody hears of it."""

import pytest

from router.slo.burning import RULES, Severity, Verdict, assess, burn_rate
from router.slo.windows import PERIOD, WINDOWS_S, Tally


def windows(**tallies):
    """Windows with these (good, bad), the others empty."""
    found = dict.fromkeys([*WINDOWS_S, PERIOD], Tally(0, 0))
    return found | {name.removeprefix("w"): Tally(*x) for name, x in tallies.items()}


EVERYWHERE = dict.fromkeys([*WINDOWS_S, PERIOD])


def same(good, bad):
    """The same events in every window."""
    return dict.fromkeys(EVERYWHERE, Tally(good, bad))


def test_a_burn_rate_is_the_bad_share_over_the_allowed_one():
    """Without events nothing is burnt."""
    assert burn_rate(Tally(90, 10), 0.05) == pytest.approx(2)
    assert burn_rate(Tally(0, 7), 0.05) == pytest.approx(20)
    assert burn_rate(Tally(0, 0), 0.05) == 0


def test_the_rules_short_windows_are_a_twelfth_of_the_long_ones():
    """As the workbook has them, the most urgent first."""
    assert [WINDOWS_S[x.long] / WINDOWS_S[x.short] for x in RULES] == [12, 12, 12]
    assert [x.rate for x in RULES] == [14.4, 6, 1]


@pytest.mark.parametrize(
    ("tallies", "severity"),
    [
        (windows(w5m=(1, 9), w1h=(1, 9), period=(1000, 9)), Severity.PAGE),
        (windows(w30m=(6, 4), w6h=(60, 40), period=(1000, 40)), Severity.PAGE),
        (windows(w6h=(90, 10), w3d=(900, 100), period=(9000, 100)), Severity.TICKET),
    ],
)
def test_two_windows_over_the_rate_burn(tallies, severity):
    """The long one says that it matters, the short one that it goes on."""
    found = assess(tallies, 0.05, 5)

    assert found.verdict is Verdict.BURNING
    assert found.rule is not None and found.rule.severity is severity


@pytest.mark.parametrize(
    "tallies",
    [
        # It is over; it has just begun; nothing is wrong.
        windows(w5m=(10, 0), w1h=(10, 90), w6h=(3000, 90), w3d=(3000, 90), period=(9000, 90)),
        windows(w5m=(0, 10), w1h=(190, 10), w6h=(3000, 10), w3d=(3000, 10), period=(9000, 10)),
        same(1000, 0),
    ],
)
def test_one_window_alone_does_not(tallies):
    """What is over needs nobody, nor what has spent nothing yet."""
    found = assess(tallies, 0.05, 5)

    assert (found.verdict, found.rule) == (Verdict.OK, None)


def test_one_bad_request_of_ten_in_a_quiet_hour_is_no_page():
    """It is a burn rate of 100; four of them are too few to tell, five are not."""
    quiet = windows(w5m=(3, 1), w1h=(9, 1), period=(5000, 1))
    four = windows(w5m=(3, 1), w1h=(6, 4), period=(5000, 4))
    five = windows(w5m=(3, 1), w1h=(5, 5), period=(5000, 5))

    assert assess(quiet, 0.001, 5).burn_rates["1h"] == pytest.approx(100)
    verdicts = [assess(x, 0.001, 5).verdict for x in (quiet, four, five)]
    assert verdicts == [Verdict.TOO_FEW, Verdict.TOO_FEW, Verdict.BURNING]


@pytest.mark.parametrize(("total", "verdict"), [(999, Verdict.TOO_FEW), (1000, Verdict.OK)])
def test_a_budget_of_less_than_one_request_says_nothing(total, verdict):
    """A share of a thousandth cannot be seen in a few hundred."""
    found = assess(same(total, 0), 0.001, 5)

    assert found.verdict is verdict
    assert found.budget_left_ratio == (None if total < 1000 else 1)


def test_no_requests_are_too_few():
    """Also where windows are not known at all."""
    for tallies in ({}, windows()):
        found = assess(tallies, 0.05, 5)
        assert found.verdict is Verdict.TOO_FEW
        assert found.budget_left_ratio is None
        assert set(found.burn_rates.values()) == {0}


@pytest.mark.parametrize(("bad", "left"), [(0, 1.0), (25, 0.5), (50, 0.0), (75, -0.5)])
def test_the_budget_that_is_left_may_be_overspent(bad, left):
    """Of 1,000 requests 50 may be bad."""
    found = assess(windows(period=(1000 - bad, bad)), 0.05, 5)

    assert found.budget_left_ratio == pytest.approx(left)
