"""Stop strings of an answer that goes on elsewhere."""

from router.recovery.stops import Passed, StopMatcher


def test_a_stop_string_is_found_across_the_seam():
    matcher = StopMatcher(["STOP"], "say S", includes=False)

    # The engine had kept "S" back if it had known the string; here it was shown.
    assert matcher.feed("TOP of") == Passed("", "STOP")


def test_the_string_that_is_complete_first_wins():
    matcher = StopMatcher(["cdef", "de"], "", includes=False)

    assert matcher.feed("abcdefg") == Passed("abc", "de")


def test_what_may_begin_a_stop_string_waits():
    matcher = StopMatcher(["xyz"], "", includes=False)

    texts = [matcher.feed(text).text for text in ("ab", "xy", "a")]

    assert texts == ["", "ab", "x"]
    assert matcher.flush() == "ya"


def test_a_stop_string_that_is_shown_is_passed_on_and_nothing_waits():
    matcher = StopMatcher(["xy"], "x", includes=True)

    assert matcher.feed("yz") == Passed("y", "xy")


def test_a_stop_string_before_the_least_length_does_not_end_the_answer():
    matcher = StopMatcher(["x"], "", includes=False)

    assert matcher.feed("axb", counts=False) == Passed("axb")
    assert matcher.feed("cx") == Passed("c", "x")
