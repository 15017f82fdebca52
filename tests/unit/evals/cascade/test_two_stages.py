"""Both stages on rows whose outcomes are known."""

import numpy as np
import pytest

from evals.cascade.deferral import Judged
from evals.cascade.two_stages import by_score, two_stages

SHARE = 0.1


@pytest.fixture(scope="module")
def rows() -> Judged:
    """Scores say nothing of the outcome; half of the answers fail."""
    rng = np.random.default_rng(0)
    failed = rng.random(600) < 0.5
    return Judged(
        np.repeat(["a", "b"], 300),
        1.0 - failed,
        np.ones(600),
        {"score": rng.random(600), "knows": failed + rng.normal(scale=0.1, size=600)},
    )


def test_a_second_stage_that_knows_is_worth_its_part_of_the_share(rows):
    """Of what moves all had failed; of what goes up by score one in two."""
    alone = by_score(rows, SHARE, np.random.default_rng(1))
    both = two_stages(rows, rows.features["knows"], SHARE, np.random.default_rng(1))

    assert alone.moved == alone.held == 0
    assert both.at_once + both.moved == pytest.approx(SHARE, abs=0.02)
    assert both.moved <= both.held
    assert both.quality > alone.quality + 0.4 * both.moved


def test_a_second_stage_that_does_not_know_is_worth_nothing(rows):
    noise = np.random.default_rng(2).random(600)
    alone = by_score(rows, SHARE, np.random.default_rng(1))
    both = two_stages(rows, noise, SHARE, np.random.default_rng(1))

    assert both.quality == pytest.approx(alone.quality, abs=0.02)
