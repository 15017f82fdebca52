"""What must always hold of experiments."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from evals.experiments.sequential import log_preference, mixture_size, preference_interval
from router.experiments.experiment import Experiment, Kind, arms_of
from router.experiments.guard import Tally, log_evidence

AB = Experiment("a", Kind.AB, "chat", "candidate", 0.5, begins=0.0, ends=1e9)


@settings(max_examples=30)
@given(
    st.text(min_size=1, max_size=20),
    st.floats(0.05, 0.95),
    st.integers(0, 2**32),
)
def test_arms_have_their_share_and_are_independent(name, share, salt):
    """500 sessions: shares within six standard errors, in another experiment's arms too."""
    one, other = replace(AB, name=name, share=share), replace(AB, name=name + "'", share=0.5)
    sessions = [f"{salt}/{n}" for n in range(500)]
    arms = [arms_of([one, other], (), x, "t", "tier", 1.0) for x in sessions]
    treated = [a for a in arms if a[0].name == "treatment"]
    both = sum(a[1].name == "treatment" for a in treated)

    assert abs(len(treated) - 500 * share) <= 6 * (500 * share * (1 - share)) ** 0.5
    assert abs(both - len(treated) / 2) <= 6 * (len(treated) / 4) ** 0.5 + 1
    assert arms == [arms_of([one, other], (), x, "t", "tier", 9e8) for x in sessions]


@given(st.integers(0, 60), st.integers(0, 60), st.floats(0.01, 0.3))
def test_evidence_of_preferences_is_fair_at_every_step(wins, losses, smallest):
    """A martingale: its mean over the next fair rating is what it is now."""
    a, n = mixture_size(smallest), wins + losses
    now = log_preference(wins, n, a)
    steps = log_preference(wins + 1, n + 1, a), log_preference(wins, n + 1, a)

    assert abs(sum(2.718281828459045 ** (x - now) for x in steps) / 2 - 1) < 1e-9


@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.01, 0.3))
def test_the_interval_has_the_share_that_was_seen(wins, losses, smallest):
    """And the half, unless the test has decided."""
    n = wins + losses
    low, high = preference_interval(wins, n, 0.05, smallest)

    assert low <= wins / n <= high
    is_decided = log_preference(wins, n, mixture_size(smallest)) >= 2.995732273553991
    assert (
        is_decided == (not low - 1e-9 <= 0.5 <= high + 1e-9)
        or abs(low - 0.5) < 1e-6
        or abs(high - 0.5) < 1e-6
    )


@given(st.integers(0, 500), st.integers(0, 500), st.floats(0.0001, 0.05))
def test_evidence_against_a_lane_does_not_grow_by_good_requests(good, bad, allowed):
    """And on average not by requests that are bad as often as allowed."""
    now = log_evidence(Tally(good, bad), allowed)
    better = log_evidence(Tally(good + 1, bad), allowed)
    worse = log_evidence(Tally(good, bad + 1), allowed)
    mean = allowed * 2.718281828459045 ** (worse - now) + (1 - allowed) * 2.718281828459045 ** (
        better - now
    )

    assert better < now < worse
    assert mean <= 1 + 1e-9
