"""The second stage of an escalation: who is held, who moves, and what both stages take."""

import random
from math import inf

import pytest

from router.routing.cascade import MAX_PART, SAVED_MOVES, Cascade, CascadeConfig
from router.routing.escalation import EscalationController, EscalationLevel, LevelView

CONFIG = CascadeConfig(part=0.5, least_score=0.4, threshold=0.6)


def view(threshold=0.8, *, has_budget=True) -> LevelView:
    return LevelView(threshold, threshold, has_budget, has_sticky_budget=has_budget)


@pytest.mark.parametrize(
    ("score", "held"), [(0.39, False), (0.4, True), (0.79, True), (0.8, False)]
)
def test_the_band_ends_where_the_first_stage_begins(score, held):
    assert Cascade(CONFIG, 0.1).holds(score, view()) is held


@pytest.mark.parametrize(("uncertainty", "moves"), [(0.59, False), (0.6, True), (1.0, True)])
def test_who_is_unsure_moves(uncertainty, moves):
    assert Cascade(CONFIG, 0.1).moves(uncertainty, view()) is moves


def test_without_budget_nobody_is_held_or_moves():
    """The hold would cost the client time for nothing."""
    cascade, spent = Cascade(CONFIG, 0.1), view(has_budget=False)

    assert not cascade.holds(0.5, spent) and not cascade.moves(0.9, spent)


def test_moves_have_a_part_of_the_share():
    """One is there at the start; half of 10 % is one in 20 requests."""
    cascade = Cascade(CONFIG, 0.1)
    cascade.note(moved=True)

    for _ in range(19):
        assert not cascade.moves(0.9, view()) and not cascade.holds(0.5, view())
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
        CascadeConfig(part=part, least_score=0, threshold=0.5)


@pytest.mark.parametrize(("part", "unsure"), [(0.5, 0.0), (0.25, 0.05), (MAX_PART, 0.9)])
def test_one_share_holds_both_stages(part, unsure):
    """However many are unsure: what they take, the first stage gives."""
    rng, share, requests = random.Random(1), 0.1, 3_000
    controller = EscalationController([EscalationLevel("strong", share)], lambda part: 1 - part)
    cascade = Cascade(CascadeConfig(part=part, least_score=0.3, threshold=0.5), share)
    went = {"first": 0, "moved": 0}

    for number in range(requests):
        score, uncertainty = rng.random(), rng.random() < unsure
        level = controller.view("a", {})["strong"]
        at_once = score >= level.threshold and level.has_budget
        moved = not at_once and cascade.holds(score, level) and cascade.moves(uncertainty, level)
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
