"""What a window leaves for an answer."""

import pytest

from router.routing.window_room import LEAST_TOKENS, fitted, least_room, left, smaller_asks

WINDOW = 4096


@pytest.mark.parametrize(
    ("wish", "window", "room"),
    [(20, WINDOW, 20), (3_500, WINDOW, 1_024), (32_000, 2_048, 512), (32_000, 131_072, 1_024)],
)
def test_a_prompt_has_room_where_a_usual_answer_has(wish, window, room):
    """The wish where it is small; of a small window, a quarter."""
    assert least_room(wish, window) == room


def test_a_wish_that_may_fit_is_left_as_it_is():
    """To the last token of the window: the engine is the judge of that."""
    assert fitted(3_500, 40, WINDOW) == 3_500
    assert fitted(WINDOW - 40, 40, WINDOW) == WINDOW - 40


@pytest.mark.parametrize(
    ("wish", "prompt", "limit"),
    [
        (32_000, 40, WINDOW - 40 - 64 - 2),
        (3_500, 2_000, WINDOW - 2_000 - 64 - 125),
        (32_000, 3_900, WINDOW - 2_925),
        (32_000, 8_000, LEAST_TOKENS),
        (10, 4_500, 10),
    ],
    ids=["a short prompt", "half the window", "nearly full", "far past it", "a small wish"],
)
def test_a_wish_that_does_not_fit_becomes_what_is_left(wish, prompt, limit):
    """Less some room for the estimate's error; of a long prompt as if it were too high."""
    assert fitted(wish, prompt, WINDOW) == limit


def test_what_is_left_is_never_nothing():
    """An estimate may be wrong."""
    assert left(1_000, WINDOW) == 3_096
    assert left(5_000, WINDOW) == LEAST_TOKENS


def test_an_engine_that_finds_it_too_long_is_asked_for_less():
    """Four times at most, and not at all where the prompt is surely too long, or the ask small."""
    assert smaller_asks(2_000, 2_000, WINDOW) == [845, 357, 151, LEAST_TOKENS]
    assert smaller_asks(70, 3_900, WINDOW) == [68, 66, 65, LEAST_TOKENS]
    assert smaller_asks(65, 3_900, WINDOW) == [LEAST_TOKENS]
    assert smaller_asks(LEAST_TOKENS, 4_000, WINDOW) == []
    assert smaller_asks(2_000, 5_120, WINDOW) == []
