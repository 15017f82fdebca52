"""What a report says of an experiment."""

from dataclasses import replace

import pytest

from evals.experiments.report import Outcome, Rating, Shown, Subject, report_of

SUBJECT = Subject("models", "ab", "chat", "candidate", 0.5)


def ratings(wins: int, losses: int) -> list[Rating]:
    alternating = [True] * wins + [False] * losses
    return [Rating(n, f"s{n}", won) for n, won in enumerate(alternating)]


def test_a_clear_preference_is_told_with_its_interval():
    """Which lane is better, by how many ratings."""
    found = report_of(SUBJECT, Shown(ratings(80, 20)))

    assert found.verdict.startswith("candidate is better: candidate is preferred in 80.0% of 100")
    assert found.tests["preference"]["decided_at"] < 100
    assert found.tests["preference"]["low"] > 0.5
    assert found.enough["fixed"] > 700


def test_a_lane_may_be_worse():
    """The control is named then."""
    found = report_of(SUBJECT, Shown(ratings(10, 90)))

    assert found.verdict.startswith("chat is better")


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (Shown(), "undecided: nobody has rated anything yet"),
        (Shown([Rating(1, "a", None)]), "undecided: there are ties alone"),
        (Shown(ratings(6, 5)), "undecided: candidate is preferred in 54.5% of 11 ratings"),
    ],
)
def test_what_is_open_is_said_to_be_open(shown, words):
    """With what is known so far."""
    assert report_of(SUBJECT, shown).verdict.startswith(words)


def test_a_session_has_one_rating_its_first():
    """One user who rates a hundred times is one user."""
    many = [Rating(n, "one", True) for n in range(100, 0, -1)]

    found = report_of(SUBJECT, Shown([*many, Rating(0, "one", False), Rating(5, "", True)]))

    assert found.tests["preference"]["n"] == 2
    assert found.tests["preference"]["estimate"] == 0.5


def test_ties_are_told_and_do_not_count():
    """They say nothing of which is better."""
    found = report_of(SUBJECT, Shown(judged=[*ratings(3, 1), Rating(9, "t", None)]))

    assert (found.tests["judge"]["n"], found.tests["judge"]["ties"]) == (4, 1)
    assert "preference" not in found.tests


def test_thumbs_decide_where_they_are_the_metric():
    """By the difference of the arms' means."""
    outcomes = [Outcome(n, f"s{n}", n % 2 == 0, float(n % 2 == 0)) for n in range(200)]

    found = report_of(replace(SUBJECT, metric="thumbs"), Shown(outcomes=outcomes))

    assert found.verdict.startswith("candidate is better: thumbs up of candidate differ by +100")
    assert "200 sessions" in found.verdict
    assert found.enough == {}


def test_blocks_of_a_switchback_are_what_is_compared():
    """Twenty-one sessions in three blocks, of which one may not be over, are two outcomes."""
    outcomes = [Outcome(n, f"s{n}", n < 10, float(n < 15)) for n in range(21)]
    subject = replace(SUBJECT, metric="thumbs", kind="switchback", block_of=lambda at: at // 10)

    found = report_of(subject, Shown(outcomes=outcomes))

    assert found.tests["thumbs"]["n"] == 2
    assert "2 blocks" in found.verdict
    assert found.row()["tests"] == found.tests


def test_what_is_said_of_a_block_that_is_over_does_not_count():
    """Its mean has been tested; a thumb of an earlier arm is none of this block's."""
    subject = replace(SUBJECT, metric="thumbs", kind="switchback", block_of=lambda at: at // 10)
    in_time = [Outcome(n, f"s{n}", n < 10, 1.0, n - 0.5) for n in (1, 12, 23)]
    late = [Outcome(14, "late", True, 0.0, 9.0), Outcome(15, "old", True, 0.0)]

    assert report_of(subject, Shown(outcomes=in_time)).tests["thumbs"]["n"] == 2
    found = report_of(subject, Shown(outcomes=[*in_time, late[0]]))
    assert found == report_of(subject, Shown(outcomes=in_time))
    assert report_of(subject, Shown(outcomes=[*in_time, late[1]])) != found
