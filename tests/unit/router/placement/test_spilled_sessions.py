"""What a replica remembers of sessions that spilled to it."""

from router.placement.spilled_sessions import SpilledSessions


def test_spilled_sessions_keep_the_highest_number_and_the_latest():
    """An older number that arrives late changes nothing."""
    book = SpilledSessions(2, warm_s=10)
    for key, number, now in (("a", 1, 0), ("b", 3, 1), ("b", 2, 2), ("c", 1, 3)):
        book.note(key, number, now=now)

    assert book.numbers(now=3) == {"b": 3, "c": 1}
    assert book.numbers(now=12.5) == {"c": 1}
    assert book.numbers(now=13.5) == {}


def test_what_is_published_is_made_anew_only_when_it_changes():
    spilled = SpilledSessions(8, warm_s=60)
    spilled.note("a", 1, now=0)
    before = spilled.numbers(now=1)
    assert spilled.numbers(now=2) is before
    spilled.note("b", 1, now=3)
    assert (before, spilled.numbers(now=4)) == ({"a": 1}, {"a": 1, "b": 1})
