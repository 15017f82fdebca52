"""The report's figures: what must hold for any scores."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from classifier.report import figures
from classifier.report.charts import Axis, line_chart, linear_axis, time_axis

SCORES = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=60).map(np.array)
PAIRS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=60)
# Few distinct values, so that ties are common.
STEPS = st.lists(st.integers(0, 4), min_size=1, max_size=60).map(lambda x: np.array(x) / 4)


@given(SCORES)
@example(np.array([0.0, 1.0]))
def test_the_mass_of_a_histogram_is_one(scores: np.ndarray) -> None:
    """No score is lost, not even 0 and 1."""
    shares = figures.histogram(scores)

    assert shares.sum() == pytest.approx(1.0)
    assert (shares >= 0.0).all()
    assert shares.shape == (figures.HISTOGRAM_BINS,)


@given(SCORES | STEPS, SCORES | STEPS)
def test_stability_is_symmetric_and_never_negative(one: np.ndarray, two: np.ndarray) -> None:
    """Which window came first does not matter."""
    there, back = figures.stability(one, two)["psi"], figures.stability(two, one)["psi"]

    assert there == pytest.approx(back, abs=1e-9)
    assert there >= -1e-12


@given(SCORES | STEPS, st.randoms())
def test_equal_windows_do_not_drift(scores: np.ndarray, random) -> None:
    """The same scores in another order have PSI 0 and KS distance 0."""
    shuffled = scores.tolist()
    random.shuffle(shuffled)
    again = np.array(shuffled)

    assert figures.stability(scores, again)["psi"] == pytest.approx(0.0, abs=1e-12)
    assert figures.ks_distance(scores, again)["ks"] == pytest.approx(0.0, abs=1e-12)


@given(SCORES | STEPS, SCORES | STEPS)
def test_the_ranges_hold_every_score(one: np.ndarray, two: np.ndarray) -> None:
    """The shares of both windows sum to 1, and the parts to the index."""
    found = figures.stability(one, two)

    for window in ("before", "after"):
        assert sum(r[window] for r in found["ranges"]) == pytest.approx(1.0)
    assert sum(r["part"] for r in found["ranges"]) == pytest.approx(found["psi"])


@given(SCORES | STEPS, SCORES | STEPS)
def test_ks_is_the_largest_gap_of_the_cumulative_shares(one: np.ndarray, two: np.ndarray) -> None:
    """As counted by hand at every score, and the same both ways."""
    gaps = [abs((one <= x).mean() - (two <= x).mean()) for x in np.concatenate([one, two])]

    found = figures.ks_distance(one, two)

    assert found["ks"] == pytest.approx(max(gaps))
    assert figures.ks_distance(two, one)["ks"] == pytest.approx(found["ks"])
    assert abs((one <= found["at_score"]).mean() - (two <= found["at_score"]).mean()) == (
        pytest.approx(found["ks"])
    )


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([-1.0, 0.0, 1.0])), min_size=1))
def test_a_quality_curve_goes_from_0_to_1(rows: list[tuple[float, float]]) -> None:
    """No calls recover nothing, all calls the whole gap."""
    scores, gains = np.array(rows).T
    assume(gains.sum() > 0)

    curve = figures.ranked(scores, gains)["pgr"]

    assert curve[0] == 0.0
    assert curve[-1] == pytest.approx(1.0)
    assert len(curve) == figures.CURVE_POINTS


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-1, 1)), min_size=1))
def test_nobody_beats_the_oracle(rows: list[tuple[float, float]]) -> None:
    """Knowing the gains recovers at least as much on the whole."""
    scores, gains = np.array(rows).T
    assume(gains.sum() > 0.01)

    assert figures.ranked(scores, gains)["apgr"] <= figures.ranked(gains, gains)["apgr"] + 1e-9


@given(PAIRS)
def test_the_calibration_error_is_that_of_training(pairs: list[tuple[float, float]]) -> None:
    """The report and the training code mean the same by ECE."""
    calibrate = pytest.importorskip("classifier.training.calibrate")
    probability, outcome = np.array(pairs).T

    found = figures.reliability(probability, outcome)

    assert calibrate.BINS == figures.RELIABILITY_BINS
    assert found["ece"] == pytest.approx(calibrate.expected_error(probability, outcome))
    assert sum(b["rows"] for b in found["bins"]) == len(pairs)


@given(SCORES | STEPS)
def test_a_classifier_agrees_with_itself(scores: np.ndarray) -> None:
    """Rank correlation 1, no disagreement at any share; ties included."""
    correlation = figures.rank_correlation(scores, scores)

    assert correlation is None or correlation == pytest.approx(1.0)
    assert (correlation is None) == (np.ptp(scores) == 0.0)
    assert figures.disagreement(scores, scores, 0.3) == 0.0


@given(PAIRS, st.floats(0.0, 1.0))
def test_disagreement_is_at_most_both_tops(pairs: list[tuple[float, float]], share: float) -> None:
    """Two tops of k rows differ on at most 2 k rows, and on no more than are left."""
    first, second = np.array(pairs).T
    top = round(share * len(pairs))

    found = figures.disagreement(first, second, share) * len(pairs)

    assert found <= 2 * min(top, len(pairs) - top) + 1e-9


@given(st.integers(0, 500), st.integers(1, 500))
def test_an_interval_holds_its_share(count: int, more: int) -> None:
    """And stays within [0, 1]."""
    low, high = figures.share_interval(count, count + more)

    assert 0.0 <= low <= count / (count + more) <= high <= 1.0


def ticks_of(axis: Axis) -> list[str]:
    """The texts below a chart with this axis."""
    chart = line_chart("made", axis, linear_axis("%", 0, 1), [])
    below = chart.split(f">{axis.label}<")[0]
    return re.findall(r"text-anchor: middle[^>]*>([^<]+)</text>", below)


@settings(max_examples=15)
@given(st.floats(-1e4, 1e4), st.floats(1e-4, 1e4))
def test_an_axis_covers_its_range(low: float, span: float) -> None:
    """With few ticks, no two of the same text."""
    axis = linear_axis("x", low, low + span)
    ticks = ticks_of(axis)

    assert axis.low <= low + 1e-6 * span
    assert axis.high >= low + span * (1 - 1e-6)
    assert 2 <= len(ticks) <= 9
    assert len(set(ticks)) == len(ticks)


@settings(max_examples=15)
@given(st.floats(0, 4e9), st.floats(0, 4e8))
def test_a_time_axis_has_few_ticks(begin: float, span: float) -> None:
    """However long the log is."""
    assert 1 <= len(ticks_of(time_axis([begin, begin + span]))) <= 12
