"""Where a conversation is cut."""

import pytest

from router.routing.history import HistoryBudget, Kind, Piece, plan_history, size_tokens
from router.tokens import TOKENS_PER_MESSAGE

BUDGET = HistoryBudget(high_tokens=100, low_tokens=50)


def system(tokens=10) -> Piece:
    return Piece(Kind.PINNED, tokens)


def user(tokens=10) -> Piece:
    return Piece(Kind.USER, tokens)


def model(tokens=10, *calls) -> Piece:
    return Piece(Kind.MODEL, tokens, calls=calls)


def result(tokens=10, *answers) -> Piece:
    return Piece(Kind.RESULT, tokens, answers=answers)


def turns(count) -> list[Piece]:
    """Turns of 20 tokens each."""
    return [piece for _ in range(count) for piece in (user(), model())]


def test_the_cut_stands_still_between_the_watermarks():
    """100 tokens fit; the turn that passes them leaves 50, which then grow again."""
    seen = [plan_history([system(), *turns(n), user()], BUDGET).cut for n in range(12)]

    # 5 turns and a question are 110: the cut leaves 2 turns and the question.
    assert seen == [0, 0, 0, 0, 0, 7, 7, 7, 13, 13, 13, 19]


def test_the_cut_moves_in_the_middle_of_a_turn_that_grows():
    """An agent's tool results count as they come."""
    pieces = [*turns(4), user(), model(10, "a"), result(30, "a")]

    plan = plan_history(pieces, BUDGET)

    # Of 130 tokens only the newest turn's 50 are left.
    assert (plan.cuts, plan.kept_tokens, plan.dropped_tokens) == ((8,), 50, 80)


def test_the_newest_turn_is_kept_however_long_it_is():
    """There is nothing else to answer."""
    plan = plan_history([*turns(2), user(500)], BUDGET)

    assert (plan.cut, plan.kept_tokens) == (4, 500)


def test_messages_before_the_first_user_message_go_with_the_oldest_turn():
    """A greeting is history like any other."""
    plan = plan_history([system(), model(60), user(20), model(5), user(30)], BUDGET)

    assert plan.cut == 4


def test_user_messages_in_a_row_are_one_turn():
    """A document and the question about it stay together."""
    plan = plan_history([*turns(3), user(30), user(30)], BUDGET)

    assert (plan.cut, plan.kept_tokens) == (6, 60)


def test_a_question_between_a_call_and_its_result_begins_no_turn():
    """The result would be parted from its call."""
    pieces = [*turns(3), user(), model(10, "a"), user(), result(30, "a"), model()]

    plan = plan_history(pieces, BUDGET)

    assert plan.cut == 6
    assert plan.torn == frozenset()


def test_a_call_that_never_had_a_result_does_not_hold_the_cut_for_ever():
    """Once the model has spoken again, the next question begins a turn."""
    pieces = [user(), model(80, "lost"), user(), model(), user(), model()]

    assert plan_history(pieces, BUDGET).cut == 4


def test_a_result_that_comes_after_its_call_was_dropped_goes_too():
    """Nothing that the engine reads refers to what it does not."""
    pieces = [user(), model(80, "late"), user(), model(), user(), result(5, "late", "other")]

    plan = plan_history(pieces, BUDGET)

    assert (plan.cut, plan.torn) == (4, {(5, "late")})


def test_an_id_that_is_used_again_means_the_newer_call():
    """Some models count their calls from 0 in each answer."""
    turn = [user(), model(10, "0"), result(20, "0")]

    plan = plan_history([*turn, *turn, *turn], BUDGET)

    assert (plan.cut, plan.torn) == (6, frozenset())


def test_a_result_without_an_id_closes_what_is_open():
    """It can belong to any call; the next question begins a turn."""
    pieces = [user(40), model(10, "a"), result(30), user(30)]

    assert plan_history(pieces, BUDGET).cut == 3


@pytest.mark.parametrize(("high", "low"), [(100, 0), (100, 100), (100, 101), (0, -1)])
def test_the_watermarks_are_two_and_in_order(high, low):
    """One watermark would move the cut every turn."""
    with pytest.raises(ValueError, match="low_tokens < high_tokens"):
        HistoryBudget(high, low)


def test_a_size_is_a_fixed_rate_and_a_message_s_frame():
    """It depends on the text alone."""
    assert size_tokens(350, 3.5) == 100 + TOKENS_PER_MESSAGE
    assert size_tokens(0, 3.5) == TOKENS_PER_MESSAGE
