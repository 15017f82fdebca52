"""Who takes the next connection, by what each listener tells."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from serve_app.front.listener.board import FREE_S, ROWS, SILENT_S, Board, new_page

NOW = 1000.0


@pytest.fixture
def page() -> Iterator[int]:
    made = new_page()
    yield made
    os.close(made)


def test_who_has_fewest_is_next_and_of_equals_who_took_fewest(page: int) -> None:
    one, two = Board(page, NOW), Board(page, NOW)
    one.look(NOW)
    assert one.is_next(NOW) and two.is_next(NOW)
    one.tell(NOW, 1, taken=1)
    assert not one.is_next(NOW) and two.is_next(NOW)
    one.tell(NOW, 0)
    assert not one.is_next(NOW) and two.is_next(NOW)
    two.tell(NOW, 0, taken=1)
    assert one.is_next(NOW) and two.is_next(NOW)


def test_one_that_is_silent_counts_no_more(page: int) -> None:
    hung, living = Board(page, NOW), Board(page, NOW)
    living.tell(NOW + SILENT_S, 5, taken=5)
    living.look(NOW)
    assert not living.is_next(NOW + SILENT_S - 0.1)
    assert living.is_next(NOW + SILENT_S) and living.is_alone(NOW + SILENT_S)
    hung.tell(NOW + SILENT_S)
    living.look(NOW + SILENT_S)
    assert not living.is_next(NOW + SILENT_S)


def test_one_that_leaves_is_not_there(page: int) -> None:
    one, two = Board(page, NOW), Board(page, NOW)
    assert not two.is_alone(NOW)
    one.leave()
    one.tell(NOW)
    assert two.is_alone(NOW) and not one.is_alone(NOW)
    two.close()
    assert one.is_alone(NOW)


def test_a_newcomer_does_not_make_up_for_what_it_was_not_there_for(page: int) -> None:
    old = Board(page, NOW)
    old.tell(NOW, 0, taken=1000)
    new = Board(page, NOW)
    old.look(NOW)
    assert old.is_next(NOW) and new.is_next(NOW)


def test_rows_are_used_again_and_one_without_is_never_passed_over(page: int) -> None:
    seated = [Board(page, NOW) for _ in range(ROWS)]
    for board in seated:
        board.tell(NOW, 3)
    standing = Board(page, NOW)
    standing.tell(NOW, 4)
    assert not standing.is_alone(NOW) and not seated[0].is_alone(NOW)
    later = Board(page, NOW + FREE_S)
    assert later._mine == 0
