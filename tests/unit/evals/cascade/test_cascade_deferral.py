"""Judging predictors of failure: by hand on few rows, and on rows whose cause is known."""

import numpy as np
import pytest

from evals.cascade.deferral import (
    Comparison,
    Interval,
    Judged,
    Logistic,
    area,
    auc,
    beats,
    compared,
    held_out,
    quality,
    resampled,
    within,
)


def rows(failed, source=None, strong=None, **features) -> Judged:
    failed = np.array(failed, dtype=float)
    return Judged(
        np.array(source if source is not None else ["a"] * len(failed)),
        1 - failed,
        np.ones(len(failed)) if strong is None else np.array(strong, dtype=float),
        {name: np.array(values, dtype=float) for name, values in features.items()},
    )


def made(sources=4, each=120, seed=0) -> Judged:
    """Failures that `cause` brings about in every source alike, and `noise` nowhere."""
    rng = np.random.default_rng(seed)
    cause, noise = rng.normal(size=(2, sources * each))
    failed = rng.random(sources * each) < 1 / (1 + np.exp(-2 * cause))
    return rows(
        failed, np.repeat([f"s{n}" for n in range(sources)], each), cause=cause, noise=noise
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], 0.0), ([1, 1, 1, 1], 0.5), ([1, 3, 2, 4], 0.75)],
)
def test_auc_is_the_chance_that_a_failure_is_over_a_success(scores, expected):
    assert auc(np.array(scores, dtype=float), np.array([0, 0, 1, 1.0])) == expected


def test_auc_needs_both_kinds():
    assert np.isnan(auc(np.array([1.0, 2]), np.array([1.0, 1])))


def test_within_ignores_what_tells_sources_apart():
    """Source b fails more, and its scores are higher: inside each there is only chance."""
    found = rows([0, 0, 1, 1, 1, 0], ["a", "a", "a", "b", "b", "b"])
    scores = np.array([0, 0, 0, 1, 1, 1.0])

    assert within(scores, found) == 0.5 < auc(scores, found.failed)


def test_quality_moves_the_highest_scores():
    found = rows([1, 1, 0, 0], strong=[1, 0, 0, 1])

    assert quality(np.array([4, 3, 2, 1.0]), found, 0.0) == 0.5
    assert quality(np.array([4, 3, 2, 1.0]), found, 0.25) == 0.75
    assert quality(np.array([1, 2, 4, 3.0]), found, 0.25) == 0.25, "the stronger lane may be wrong"
    assert quality(np.array([4, 3, 2, 1.0]), found, 1.0) == 0.5


def test_a_stronger_lane_that_is_always_right_makes_area_and_auc_one_order():
    """With failures a share f of the rows, area = f / 2 + (1 - f) * AUC."""
    found = made()
    scores = found.features["cause"]
    share = found.failed.mean()

    assert area(scores, found) == pytest.approx(
        share / 2 + (1 - share) * auc(scores, found.failed), abs=1e-9
    )


def test_a_regression_finds_what_made_the_rows():
    found = made(each=3000)
    features = found.matrix(["cause", "noise"])
    fitted = Logistic.fitted(features, found.failed)

    assert fitted.weights / fitted.scale == pytest.approx([2, 0], abs=0.15)
    assert fitted.predict(features).mean() == pytest.approx(found.failed.mean(), abs=1e-6)


def test_classes_that_part_have_finite_weights():
    fitted = Logistic.fitted(np.array([[0.0], [0], [1], [1]]), np.array([0, 0, 1, 1.0]))

    chances = fitted.predict(np.array([[0.0], [1]]))
    assert np.isfinite(fitted.weights).all() and chances[0] < 0.5 < chances[1]


def test_a_missing_or_constant_feature_changes_nothing():
    nothing = [np.nan] * 4
    features = np.column_stack([[0.0, 0, 1, 1], [7, 7, 7, np.nan], nothing])
    fitted = Logistic.fitted(features, np.array([0, 1, 0, 1.0]))

    assert fitted.weights[1:].tolist() == [0, 0]
    assert fitted.predict(np.array([[np.nan, 7.0, 3.0]]))[0] == pytest.approx(0.5)


def test_a_source_is_judged_by_the_others():
    """Where one has it the other way round, both are judged wrongly: none taught itself."""
    found = made(sources=2, each=200)
    turned = found.source == "s0"
    cause = np.where(turned, -found.features["cause"], found.features["cause"])
    found = rows(found.failed, found.source, cause=cause)

    scores = held_out(found, ["cause"])

    assert auc(scores[turned], found.failed[turned]) < 0.3
    assert auc(scores[~turned], found.failed[~turned]) < 0.3


def test_who_knows_nothing_does_not_order_the_sources():
    """One fails more than the others: a fit without it must not put it last for that."""
    failed = np.array(([0] * 9 + [1]) * 20 + ([1] * 9 + [0]) * 20)
    found = rows(failed, ["a"] * 200 + ["b"] * 200, x=[0] * 400)

    assert auc(np.round(held_out(found, ["x"]), 9), found.failed) == 0.5


@pytest.mark.parametrize(
    ("failed", "source", "why"),
    [([0, 1], ["a", "a"], "two sources"), ([0, 1, 1], ["a", "a", "b"], "without source 'a'")],
)
def test_what_cannot_be_held_out_is_said(failed, source, why):
    with pytest.raises(ValueError, match=why):
        held_out(rows(failed, source, x=[0] * len(failed)), ["x"])


def test_samples_draw_whole_sources():
    found = made(sources=3, each=5)

    for at in resampled(found, np.random.default_rng(0), draws=20):
        counts = np.unique(found.source[at], return_counts=True)[1]
        assert len(at) == 15 and set(counts) <= {5, 10, 15}


def test_what_causes_failures_beats_noise_and_not_the_other_way_round():
    found = made()
    samples = resampled(found, np.random.default_rng(0), draws=100)
    cause, noise = (held_out(found, [name]) for name in ("cause", "noise"))

    assert beats(compared(cause, noise, found, samples))
    assert not beats(compared(noise, cause, found, samples))
    assert compared(cause, cause, found, samples) == Comparison(Interval(0, 0, 0), 0, 4)


def test_one_source_does_not_make_a_better_predictor():
    assert not beats(Comparison(Interval(0.1, 0.05, 0.2), wins=2, sources=4))
    assert not beats(Comparison(Interval(0.1, -0.01, 0.2), wins=4, sources=4))
