"""The second stage of an escalation: who is held, who moves, and what both stages take."""

import random
from math import inf

import pytest

from router.routing.cascade import MAX_PART, SAVED_MOVES, Cascade, CascadeConfig, uncertainty
from router.routing.escalation import EscalationController, EscalationLevel, LevelView

CONFIG = CascadeConfig(part=0.5, threshold=0.6)
LEAST = 0.4


def view(threshold=0.8, *, has_budget=True, yields=0.0) -> LevelView:
    return LevelView(threshold, threshold + yields, has_budget, has_sticky_budget=has_budget)


@pytest.mark.parametrize(
    ("logprobs", "expected"),
    [([], None), ([-1.0], 1.0), ([-0.5, -1.5, -4.0], 2.0), ([0.0, -9999.0], 15.0)],
)
def test_uncertainty_is_minus_the_mean_log_probability(logprobs, expected):
    """A token that cannot be counts as one that hardly can."""
    assert uncertainty(logprobs) == expected


@pytest.mark.parametrize(
    ("score", "held"), [(0.39, False), (0.4, True), (0.79, True), (0.8, False)]
)
def test_the_band_ends_where_the_first_stage_begins(score, held):
    assert Cascade(CONFIG, 0.1).holds(score, LEAST, view()) is held


@pytest.mark.parametrize(("unsure", "moves"), [(0.59, False), (0.6, True), (1.0, True)])
def test_who_is_unsure_moves(unsure, moves):
    assert Cascade(CONFIG, 0.1).moves(unsure, view()) is moves


def test_without_budget_nobody_is_held_or_moves():
    """The hold would cost the client time for nothing."""
    cascade, spent = Cascade(CONFIG, 0.1), view(has_budget=False)

    assert not cascade.holds(0.5, LEAST, spent) and not cascade.moves(0.9, spent)
    assert cascade.is_unsure(0.9) and not cascade.is_unsure(0.5)


def test_a_lane_that_yields_takes_nobody_over():
    """It is full: borderline cases stay, and do not wait to be told so."""
    cascade, full = Cascade(CONFIG, 0.1), view(yields=0.1)

    assert not cascade.holds(0.5, LEAST, full) and not cascade.moves(0.9, full)


def test_it_says_which_shares_were_held_and_moved_of_late():
    """Half and a fifth, after more requests than are remembered."""
    cascade = Cascade(CONFIG, 0.1)

    for number in range(8_000):
        cascade.note(moved=number % 5 == 0, held=number % 2 == 0)

    assert (cascade.held, cascade.moved) == pytest.approx((0.5, 0.2), abs=0.01)


def test_moves_have_a_part_of_the_share():
    """One is there at the start; half of 10 % is one in 20 requests."""
    cascade = Cascade(CONFIG, 0.1)
    cascade.note(moved=True)

    for _ in range(19):
        assert not cascade.moves(0.9, view()) and not cascade.holds(0.5, LEAST, view())
        cascade.note(moved=False)
    for _ in range(2):
        cascade.note(moved=False)

    assert cascade.moves(0.9, view())


def test_few_moves_are_saved_up():
    cascade = Cascade(CONFIG, 1.0)
    for _ in range(100):
        cascade.note(moved=False)

    moved = [cascade.moves(0.9, view())]
    for _ in range(100):
        cascade.note(moved=moved[-1])
        moved.append(cascade.moves(0.9, view()))

    assert all(moved[: int(SAVED_MOVES)]) and sum(moved) == pytest.approx(58, abs=2)


@pytest.mark.parametrize("part", [0, -0.1, MAX_PART + 0.01, inf])
def test_a_part_that_the_first_stage_cannot_give_is_refused(part):
    with pytest.raises(ValueError, match="part of the share"):
        CascadeConfig(part=part, threshold=0.5)


@pytest.mark.parametrize(("part", "unsure"), [(0.5, 0.0), (0.25, 0.05), (MAX_PART, 0.9)])
def test_one_share_holds_both_stages(part, unsure):
    """However many are unsure: what they take, the first stage gives."""
    rng, share, requests = random.Random(1), 0.1, 3_000
    controller = EscalationController([EscalationLevel("strong", share)], lambda part: 1 - part)
    cascade = Cascade(CascadeConfig(part=part, threshold=0.5), share)
    went = {"first": 0, "moved": 0}

    for number in range(requests):
        score, unsure_of = rng.random(), rng.random() < unsure
        level = controller.view("a", {})["strong"]
        at_once = score >= level.threshold and level.has_budget
        moved = not at_once and cascade.holds(score, 0.3, level) and cascade.moves(unsure_of, level)
        lane = "strong" if at_once or moved else None
        controller.note("a", {}, score, lane, sticky=False, now=number)
        cascade.note(moved=moved)
        if number >= requests // 3:
            went["first"] += at_once
            went["moved"] += moved

    counted = requests - requests // 3
    assert sum(went.values()) / counted == pytest.approx(share, rel=0.15)
    assert went["moved"] / counted <= part * share + SAVED_MOVES / counted
    assert (went["moved"] > 0) is (unsure > 0)
