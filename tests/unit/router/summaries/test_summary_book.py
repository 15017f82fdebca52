"""Summaries in memory: found again, bounded for each tenant by itself."""

import pytest

from router.summaries.book import ENTRY_BYTES, BookBounds, SummaryBook
from router.summaries.keys import chain_keys, result_key, verdict_key


def book(count=100, size=100_000, idle_s=60.0) -> SummaryBook:
    return SummaryBook(BookBounds(count, size, idle_s))


def key(number: int) -> bytes:
    return result_key(f"text {number}", 100)


def test_what_was_put_is_found_by_its_tenant_alone():
    made = book()
    made.put("acme", key(1), "short", 0)

    assert made.get("acme", key(1), 1) == "short"
    assert made.get("acme", key(2), 1) is None
    assert made.get("guest", key(1), 1) is None


def test_a_text_takes_the_place_of_the_one_before_it():
    made = book()
    made.put("acme", key(1), "a" * 100, 0)
    made.put("acme", key(1), "é", 1)

    assert made.get("acme", key(1), 1) == "é"
    assert made.bytes_of("acme") == 2 + ENTRY_BYTES and len(made) == 1
    assert made.bytes_of("guest") == 0


def test_over_the_count_the_one_that_was_used_longest_ago_goes():
    made = book(count=2)
    made.put("acme", key(1), "one", 0)
    made.put("acme", key(2), "two", 1)
    made.get("acme", key(1), 2)
    made.put("acme", key(3), "three", 3)

    assert [made.get("acme", key(n), 4) for n in (1, 2, 3)] == ["one", None, "three"]


def test_over_the_bytes_too_but_the_newest_stays():
    made = book(size=1000)
    made.put("acme", key(1), "a" * 500, 0)
    made.put("acme", key(2), "b" * 500, 1)
    assert [made.get("acme", key(n), 1) is None for n in (1, 2)] == [True, False]

    made.put("acme", key(3), "c" * 5000, 2)
    assert len(made) == 1 and made.get("acme", key(3), 2) == "c" * 5000


def test_one_tenant_makes_no_room_of_anothers():
    made = book(count=2)
    made.put("acme", key(1), "acme's", 0)
    for number in range(10):
        made.put("guest", key(number), "guest's", 1)

    assert made.get("acme", key(1), 2) == "acme's"
    assert len(made) == 3


def test_what_nobody_uses_expires_and_what_is_used_does_not():
    made = book(idle_s=10)
    made.put("acme", key(1), "used", 0)
    made.put("acme", key(2), "idle", 0)
    made.put("guest", key(1), "idle", 0)
    assert made.get("acme", key(1), 8) == "used"

    assert made.get("acme", key(2), 11) is None
    made.put("acme", key(3), "new", 12)

    assert made.get("acme", key(1), 12) == "used"
    assert len(made) == 2 and made.bytes_of("guest") == 0


def test_a_results_key_is_its_texts_and_its_limits():
    assert result_key("text", 100) == result_key("text", 100)
    assert len({result_key("text", 100), result_key("text", 101), result_key("text.", 100)}) == 3
    assert result_key("\ud800", 100) != result_key("\ud801", 100)


def test_what_a_session_does_about_a_summary_is_known_by_both():
    keys = {verdict_key(session, key(n)) for session in ("a", "b") for n in (1, 2)}

    assert len(keys) == 4 and key(1) not in keys


TURNS = ["hello", "there", "how", "are", "you"]


def test_each_cut_has_a_key_of_all_that_is_before_it():
    first, second = chain_keys(TURNS, (2, 4))

    assert chain_keys(TURNS, (2,)) == [first] == chain_keys([*TURNS[:2], "other"], (2,))
    assert chain_keys([*TURNS[:4], "more"], (2, 4)) == [first, second]
    assert chain_keys(TURNS, ()) == []


@pytest.mark.parametrize(
    "other",
    [
        ["hello", "their", *TURNS[2:]],
        ["hellot", "here", *TURNS[2:]],
        ["", "hellothere", *TURNS[2:]],
    ],
)
def test_other_turns_have_other_keys(other):
    ours, theirs = chain_keys(TURNS, (2, 4)), chain_keys(other, (2, 4))

    assert not set(ours) & set(theirs)
