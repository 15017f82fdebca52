"""Conversations that were moved by what a weak lane knew: for how long their turns follow."""

import pytest

from router.routing.moved import MovedConversations


def moved(turn=3, now=0.0) -> MovedConversations:
    made = MovedConversations()
    made.note("s", "strong", turn, now)
    return made


@pytest.mark.parametrize(
    ("turn", "lane"), [(2, None), (3, "strong"), (4, "strong"), (5, "strong"), (6, None)]
)
def test_it_holds_for_some_turns_the_moved_one_included(turn, lane):
    """A conversation with fewer turns than the moved one is another."""
    assert moved().find("s", turn, 3, 1.0) == lane


def test_others_are_not_moved():
    assert moved().find("other", 3, 3, 1.0) is None


def test_it_is_forgotten_after_an_hour():
    made = moved()

    assert made.find("s", 4, 3, 3599.0) == "strong"
    assert made.find("s", 4, 3, 3600.0) is None and len(made) == 0


def test_the_newest_move_counts():
    made = moved()

    made.note("s", "stronger", 5, 1.0)

    assert made.find("s", 7, 3, 2.0) == "stronger" and len(made) == 1


def test_a_move_that_came_to_nothing_is_forgotten():
    made = moved()

    made.forget("s")
    made.forget("never")

    assert made.find("s", 3, 3, 1.0) is None


def test_what_was_moved_longest_ago_makes_room():
    made = MovedConversations(most=2)
    for number in range(3):
        made.note(f"s{number}", "strong", 1, float(number))

    assert [made.find(f"s{n}", 1, 1, 3.0) for n in range(3)] == [None, "strong", "strong"]
