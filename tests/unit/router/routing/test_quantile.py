"""Thresholds from recent scores, from peers and from the shipped quantiles."""

import math
from random import Random

import pytest

from router.routing.quantile import (
    KNOWN_THRESHOLDS,
    QuantileConfig,
    QuantileWindow,
    RecentTraffic,
    Tail,
    rein_in,
)

SMALL = QuantileConfig(window=100, refresh_every=1, prior_weight=0)


def shipped(share):
    """Uniform scores."""
    return 1 - share


def window_of(scores, config=SMALL, weight=1.0):
    window = QuantileWindow(shipped, config)
    for score in scores:
        window.add(score, weight)
    window.refresh()
    return window


def test_a_share_of_the_scores_reaches_the_threshold():
    window = window_of([i / 100 for i in range(100)])

    assert window.threshold(0.01) == 0.99
    assert window.threshold(0.03) == 0.97
    assert window.threshold(0.10) == 0.90


def test_a_threshold_that_was_asked_for_stays_until_the_next_refresh():
    """However many are asked for: few of them are kept."""
    window = window_of([i / 100 for i in range(100)])
    asked = [i / 100 for i in range(1, 2 * KNOWN_THRESHOLDS)]
    before = [window.threshold(share) for share in asked]
    window.add(0.999, 1.0)

    assert [window.threshold(share) for share in asked] == before
    assert len(window._known) <= KNOWN_THRESHOLDS

    window.refresh()

    assert window.threshold(0.01) == 0.999


def test_no_share_has_no_threshold():
    assert window_of([0.5]).threshold(0) == math.inf


def test_weights_count_instead_of_numbers():
    window = QuantileWindow(shipped, SMALL)
    window.add(0.9, 1)
    window.add(0.8, 9)
    window.add(0.1, 90)
    window.refresh()

    assert window.threshold(0.01) == 0.9
    assert window.threshold(0.02) == 0.8


def test_the_oldest_scores_leave():
    window = window_of([0.9] * 100 + [0.1] * 100)

    assert window.tail.weight == pytest.approx(100)
    assert window.threshold(0.03) == 0.1


def test_what_is_held_agrees_with_a_plain_computation_after_many_additions():
    rng = Random(1)
    pairs = [(rng.random(), rng.random()) for _ in range(1000)]
    window = QuantileWindow(shipped, SMALL)
    for score, weight in pairs:
        window.add(score, weight)
    window.refresh()

    kept = sorted(pairs[-100:], reverse=True)
    total = sum(weight for _, weight in kept)
    assert window.tail.weight == pytest.approx(total)
    for share in (0.01, 0.05, 0.1):
        threshold = window.threshold(share)
        over = sum(weight for score, weight in kept if score > threshold)
        reached = sum(weight for score, weight in kept if score >= threshold)
        assert over < share * total <= reached


def test_before_any_score_thresholds_are_the_shipped_ones():
    window = QuantileWindow(shipped, QuantileConfig())

    assert [window.threshold(share) for share in (0.01, 0.03, 0.1)] == [0.99, 0.97, 0.9]


def test_thresholds_move_smoothly_from_shipped_to_observed():
    config = QuantileConfig(window=1000, refresh_every=1, prior_weight=200)
    window = QuantileWindow(shipped, config)
    seen = []
    for _ in range(1000):
        window.add(0.5, 1)
        window.refresh()
        seen.append(window.threshold(0.03))

    steps = [before - after for before, after in zip([0.97, *seen], seen, strict=False)]
    assert min(steps) >= 0
    assert max(steps) < 0.47 / 100
    assert seen[-1] == 0.5


def test_a_peers_tail_counts_as_its_scores_would():
    rng = Random(2)
    scores = [rng.random() for _ in range(200)]
    whole = window_of(scores, QuantileConfig(window=200, prior_weight=0))
    half, peer = window_of(scores[:100]), window_of(scores[100:])

    half.refresh([peer.tail])

    for share in (0.01, 0.03, 0.1):
        assert half.threshold(share) == whole.threshold(share)


def test_a_tail_counts_until_the_next_refresh():
    window, peer = window_of([0.1] * 90 + [0.9] * 10), window_of([0.5] * 100)
    for _ in range(2):
        window.refresh([peer.tail])

    assert window.threshold(0.05) == 0.9
    assert window.threshold(0.051) == 0.5
    window.refresh()
    assert window.threshold(0.101) == 0.1


def test_an_export_holds_only_this_replicas_own_scores():
    window = window_of([0.1] * 100)
    before = window.tail
    window.refresh([window_of([0.9] * 100).tail])

    assert window.tail == before


def test_a_tail_is_about_the_top_of_the_weight():
    tail = window_of([i / 100 for i in range(100)]).tail

    assert tail.weight == 100
    assert [score for score, _ in tail.pairs] == [i / 100 for i in range(99, 84, -1)]
    assert Tail.from_plain(tail.to_plain()) == tail


@pytest.mark.parametrize(
    "plain",
    [
        {"weight": math.nan, "pairs": []},
        {"weight": math.inf, "pairs": []},
        {"weight": 1, "pairs": [[math.nan, 1]]},
        {"weight": 1, "pairs": [[0.5, -1]]},
        {"weight": 1, "pairs": [[0.5]]},
    ],
)
def test_numbers_that_make_no_sense_are_refused(plain):
    with pytest.raises(ValueError):  # noqa: PT011
        Tail.from_plain(plain)


def test_a_heavy_tenant_weighs_less():
    recent = RecentTraffic(size=1000)
    for number in range(1000):
        recent.add("heavy" if number % 2 else f"t{number % 200}", None)

    # 101 tenants: 2 % of the traffic, which "heavy" has 25 times.
    assert recent.weight("heavy", 0.02) == pytest.approx(0.04)
    assert recent.weight("t2", 0.02) == 1
    assert recent.weight("unknown", 0.02) == 1


def test_with_few_tenants_each_may_weigh_more():
    recent = RecentTraffic(size=1000)
    for number in range(1000):
        recent.add("heavy" if number % 10 else f"t{number % 30}", None)

    # Four tenants: half of the traffic.
    assert recent.weight("heavy", 0.02) == pytest.approx(0.5 / 0.9)


def test_recent_traffic_forgets():
    recent = RecentTraffic(size=10)
    for tenant, lane in [("a", "x")] * 10 + [("b", None)] * 10:
        recent.add(tenant, lane)

    assert len(recent) == 10
    assert recent.lanes["x"] == 0
    assert recent.weight("c", 0.02) == 1


def test_a_tenant_in_line_keeps_its_score():
    assert list(rein_in(0.9, [(0.8, 0.02, 0.02), (0.5, 0.04, 0.08)])) == [(0.9, 1.0)]
    assert list(rein_in(0.1, [])) == [(0.1, 1.0)]


def test_a_flood_counts_as_little_more_than_half_the_edge_over_each_threshold():
    pairs = list(rein_in(0.99, [(0.9, 1.0, 0.02), (0.7, 1.0, 0.08)]))

    assert [at for at, _ in pairs] == [0.99, 0.7, 0.0]
    assert [part for _, part in pairs] == pytest.approx([0.0102, 0.0432 - 0.0102, 1 - 0.0432])


def test_what_counts_over_a_strong_threshold_counts_over_the_weaker_ones():
    pairs = list(rein_in(0.99, [(0.9, 0.01, 0.02), (0.7, 1.0, 0.08)]))

    assert [part for _, part in pairs] == pytest.approx([0.0432, 0, 1 - 0.0432])
