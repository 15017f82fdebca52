"""What must always hold of objectives: nothing is lost, nothing fires on a few bad requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.slo.burning import RULES, Verdict, assess
from router.slo.judging import End, Ended, judged
from router.slo.objectives import DAY_S, Objective, SloPolicy, Targets
from router.slo.windows import HOUR_S, MINUTE_S, PERIOD, WINDOWS_S, History, Ring, Tally, summed

T0 = 40 * DAY_S
PERIOD_S = 28 * DAY_S
COUNTS = st.integers(0, 10_000)
TALLIES = st.builds(Tally, COUNTS, COUNTS)
WINDOWS = st.fixed_dictionaries(dict.fromkeys([*WINDOWS_S, PERIOD], TALLIES))
RATIOS = st.floats(0.00001, 0.05)
EVENTS = st.lists(st.tuples(st.floats(0, 40 * DAY_S), st.booleans()), max_size=40)
SECONDS = st.none() | st.floats(0.001, 100)


@given(EVENTS, st.lists(st.integers(0, 3)), st.floats(0, DAY_S))
def test_replicas_together_count_as_one_would(events, places, later):
    """However requests are spread over them."""
    one, replicas = History(now=0.0), [History(now=0.0) for _ in range(4)]
    for number, (at, is_good) in enumerate(sorted(events)):
        one.note(is_good=is_good, now=at)
        place = places[number] if number < len(places) else 0
        replicas[place].note(is_good=is_good, now=at)
    now = T0 + later

    together = summed(x.tallies(PERIOD_S, now=now) for x in replicas)

    assert together == one.tallies(PERIOD_S, now=now)


@given(EVENTS)
def test_a_window_misses_nothing_and_holds_a_bucket_more_at_most(events):
    """Every event of its time is in it, and none that is more than a bucket older."""
    history = History(now=0.0)
    for at, is_good in sorted(events):
        history.note(is_good=is_good, now=at)

    for name, tally in history.tallies(PERIOD_S, now=T0).items():
        window_s = WINDOWS_S.get(name, PERIOD_S)
        width_s = MINUTE_S if window_s <= 6 * HOUR_S else HOUR_S
        ages = [T0 - at for at, _ in events]
        least = sum(age <= window_s for age in ages)
        most = sum(age <= window_s + width_s for age in ages)
        assert least <= tally.total <= most


@given(st.lists(st.tuples(st.floats(-1e9, 1e9), st.booleans()), min_size=1, max_size=30))
def test_a_clock_may_jump(events):
    """What the ring holds is never more than was noted; the latest event is always in it."""
    ring = Ring(MINUTE_S, 10, now=events[0][0])
    noted = Tally(0, 0)
    for at, is_good in events:
        ring.note(is_good=is_good, now=at)
        noted = noted.plus(Tally(int(is_good), int(not is_good)))
        found = ring.within(1e12, now=at)
        assert found.good <= noted.good and found.bad <= noted.bad
        assert found.good if is_good else found.bad


@given(EVENTS, st.floats(0, 40 * DAY_S))
def test_a_history_taken_over_has_no_event_twice_and_loses_only_old_ones(events, passed):
    """The next process goes on, give or take a bucket at each window's end."""
    first, following = History(now=0.0), History(now=5.0)
    for at, is_good in sorted(events):
        first.note(is_good=is_good, now=at)

    following.adopt(*first.aged(now=T0), passed, now=5.0)

    found = following.tallies(PERIOD_S, now=5.0)
    ages = [T0 + passed - at for at, _ in events]
    for name, tally in found.items():
        window_s = WINDOWS_S.get(name, PERIOD_S)
        width_s = MINUTE_S if window_s <= 6 * HOUR_S else HOUR_S
        assert sum(age < window_s - width_s for age in ages) <= tally.total
        assert tally.total <= sum(age <= window_s + 2 * width_s for age in ages)


@given(WINDOWS, RATIOS, st.integers(1, 50))
def test_nothing_fires_with_fewer_bad_events_than_the_least_number(windows, ratio, least):
    """Whatever the shares are."""
    found = assess(windows, ratio, least)

    if all(windows[rule.long].bad < least for rule in RULES):
        assert found.verdict is not Verdict.BURNING
    if found.verdict is Verdict.BURNING:
        assert windows[found.rule.long].bad >= least
        assert found.burn_rates[found.rule.long] >= found.rule.rate
        assert found.burn_rates[found.rule.short] >= found.rule.rate
    else:
        assert found.rule is None


@given(st.integers(1, 2000), st.integers(0, 1000), RATIOS)
def test_a_steady_bad_share_of_k_budgets_burns_at_k(good, bad, ratio):
    """In every window, and it leaves 1 - k of the budget."""
    steady = dict.fromkeys([*WINDOWS_S, PERIOD], Tally(good, bad))
    k = bad / (good + bad) / ratio

    found = assess(steady, ratio, 1)

    assert all(rate == pytest.approx(k) for rate in found.burn_rates.values())
    if found.budget_left_ratio is not None:
        assert found.budget_left_ratio == pytest.approx(1 - k, abs=1e-6)


@given(WINDOWS, RATIOS, st.sampled_from([*WINDOWS_S]))
def test_a_further_bad_event_never_calms(windows, ratio, name):
    """More bad requests in a window do not silence what burns."""
    before = assess(windows, ratio, 5)
    worse = assess(windows | {name: windows[name].plus(Tally(0, 10))}, ratio, 5)

    if before.verdict is Verdict.BURNING:
        assert worse.verdict is Verdict.BURNING
        assert RULES.index(worse.rule) <= RULES.index(before.rule)


@given(
    st.builds(
        Ended,
        st.sampled_from(End),
        st.floats(0, 100),
        SECONDS,
        SECONDS,
        st.integers(0, 1000),
        is_stream=st.booleans(),
        is_timed=st.booleans(),
    ),
    st.builds(Targets, SECONDS, SECONDS, SECONDS, st.none() | RATIOS, st.none() | st.just(100)),
)
def test_a_request_is_one_event_of_an_objective_at_most(ended, targets):
    """And of none that is off, nor of any when it was the client's own fault."""
    found = judged(ended, targets)

    assert len({objective for objective, _ in found}) == len(found)
    assert all(targets.allowed_ratio(objective) is not None for objective, _ in found)
    if ended.end is End.EXCUSED:
        assert not found
    if ended.end is End.LEFT:
        assert Objective.FAILURES not in dict(found)


FIELDS = st.dictionaries(st.sampled_from(["ttft_p95_s", "answer_p95_s"]), SECONDS)


@given(
    *[st.dictionaries(st.sampled_from("ab"), FIELDS)] * 2,
    st.dictionaries(st.tuples(st.sampled_from("ab"), st.sampled_from("ab")), FIELDS),
)
def test_the_most_exact_word_always_counts(lanes, tiers, lane_tiers):
    """Field by field, for every lane and tier."""
    policy = SloPolicy(Targets(1, 2, 3, 0.001), lanes, tiers, lane_tiers)
    for lane in "ab":
        for tier in "ab":
            said = [lanes.get(lane), tiers.get(tier), lane_tiers.get((lane, tier))]
            for name, base in (("ttft_p95_s", 1), ("answer_p95_s", 3), ("first_tokens_p95_s", 2)):
                words = [base, *(x[name] for x in said if x and name in x)]
                assert getattr(policy.of(lane, tier), name) == words[-1]
