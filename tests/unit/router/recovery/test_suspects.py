"""How often a request may cost a replica."""

import pytest

from router.recovery.suspects import MEMORY_S, Suspects

ONE, OTHER = b"one", b"other"


def test_one_loss_is_remembered_and_nothing_waits_for_it():
    suspects = Suspects()

    suspects.note_loss(ONE, 1, now=0.0)

    assert suspects.try_begin(ONE, now=0.1) == 0
    assert (suspects.losses(ONE, now=0.1), suspects.losses(OTHER, now=0.1)) == (1, 0)


def test_after_two_it_waits_and_then_one_is_tried():
    suspects = Suspects()
    suspects.note_loss(ONE, 2, now=0.0)

    waits = [suspects.try_begin(ONE, now=now) for now in (0.0, 4.0, 10.0, 11.0)]

    assert waits == [10, 6, 0, 9]
    assert suspects.try_begin(OTHER, now=0.0) == 0


@pytest.mark.parametrize(("losses", "wait_s"), [(2, 10), (3, 20), (4, 40), (9, 300), (9999, 300)])
def test_each_further_loss_doubles_the_wait_up_to_a_limit(losses, wait_s):
    suspects = Suspects()

    suspects.note_loss(ONE, losses, now=5.0)

    assert suspects.wait_s(ONE, now=5.0) == wait_s


def test_losses_of_many_that_were_under_way_together_are_one():
    suspects = Suspects()

    for _ in range(50):
        suspects.note_loss(ONE, 1, now=0.0)

    assert suspects.losses(ONE, now=0.0) == 1


def test_a_later_one_that_knows_of_less_does_not_undo_what_is_known():
    suspects = Suspects()
    suspects.note_loss(ONE, 3, now=0.0)

    suspects.note_loss(ONE, 1, now=1.0)

    assert suspects.losses(ONE, now=1.0) == 3


def test_an_answer_clears_it():
    suspects = Suspects()
    suspects.note_loss(ONE, 2, now=0.0)

    assert suspects
    suspects.note_answer(ONE)
    assert not suspects
    suspects.note_answer(OTHER)

    assert (len(suspects), suspects.try_begin(ONE, now=0.0)) == (0, 0)


def test_what_was_not_heard_of_for_long_is_forgotten():
    suspects = Suspects()
    suspects.note_loss(ONE, 2, now=0.0)

    assert suspects.losses(ONE, now=MEMORY_S) == 2
    assert suspects.losses(ONE, now=MEMORY_S + 1) == 0
    assert len(suspects) == 0


def test_only_so_many_are_remembered():
    suspects = Suspects(most=2)
    for digest in (ONE, OTHER, ONE, b"third"):
        suspects.note_loss(digest, 1, now=0.0)

    assert [suspects.losses(x, now=0.0) for x in (ONE, OTHER, b"third")] == [1, 0, 1]
