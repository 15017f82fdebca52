"""The record of the prefixes that are asked for most."""

import pytest

from router.placement.hot_prefixes import HotPrefix, HotPrefixes, merge
from tests.unit.router.placement.held import check_bounds

HALF_LIFE_S = 100.0


def record(capacity=8, max_bytes=8000) -> HotPrefixes:
    return HotPrefixes(capacity, max_bytes, HALF_LIFE_S)


def hottest(hot, lane="chat", count=8, now=0.0) -> list[tuple[str, bytes]]:
    return [(x.group, x.prefix) for x in hot.hottest(lane, count, now=now)]


def test_the_most_asked_for_comes_first() -> None:
    """By number of requests."""
    hot = record()
    for prefix, times in ((b"rare", 1), (b"often", 5), (b"some", 2)):
        for _ in range(times):
            hot.note("chat", "a", prefix, now=0)

    assert hottest(hot) == [("a", b"often"), ("a", b"some"), ("a", b"rare")]
    assert hottest(hot, count=1) == [("a", b"often")]


def test_a_request_counts_half_after_the_half_life() -> None:
    """Weights are what is left of the requests at the time of asking."""
    hot = record()
    for _ in range(4):
        hot.note("chat", "a", b"x", now=0)
    hot.note("chat", "a", b"x", now=HALF_LIFE_S)

    (now,) = hot.hottest("chat", 1, now=HALF_LIFE_S)
    (later,) = hot.hottest("chat", 1, now=3 * HALF_LIFE_S)

    assert now.weight == pytest.approx(3.0)
    assert later.weight == pytest.approx(0.75)


def test_what_was_hot_yesterday_gives_way() -> None:
    """Five requests ten half-lives ago are less than one now."""
    hot = record()
    for _ in range(5):
        hot.note("chat", "a", b"old", now=0)
    hot.note("chat", "a", b"new", now=10 * HALF_LIFE_S)

    assert hottest(hot, now=10 * HALF_LIFE_S) == [("a", b"new"), ("a", b"old")]


def test_lanes_and_groups_are_apart() -> None:
    """The same text in two groups lies in two caches."""
    hot = record()
    hot.note("chat", "a", b"x", now=0)
    hot.note("chat", "b", b"x", now=1)
    hot.note("quality", "a", b"y", now=0)

    assert hottest(hot) == [("b", b"x"), ("a", b"x")]
    assert hottest(hot, "quality") == [("a", b"y")]
    assert hottest(hot, "none") == []


def test_the_coldest_leaves_when_there_are_too_many() -> None:
    """A newcomer does not push out what is asked for all the time."""
    hot = record(capacity=2)
    for now in range(50):
        hot.note("chat", "a", b"hot", now=now)
        hot.note("chat", "a", b"one-off %d" % now, now=now)

    assert hottest(hot)[0] == ("a", b"hot")
    assert len(hottest(hot)) == 2
    check_bounds(hot, 2, 8000, "chat")


def test_bytes_are_bounded_over_all_lanes() -> None:
    """Long prefixes push out the coldest, in whatever lane that is."""
    hot = record(capacity=100, max_bytes=800)
    hot.note("quality", "a", b"q" * 100, now=0)
    for number in range(20):
        hot.note("chat", "a", b"%100d" % number, now=1 + number)

    assert hot.held_bytes == 800
    assert hottest(hot, "quality") == []
    check_bounds(hot, 100, 800, "chat", "quality")


def test_a_huge_prefix_is_not_kept() -> None:
    """It would push out eight others."""
    hot = record(max_bytes=800)
    hot.note("chat", "a", b"x" * 101, now=0)

    assert hottest(hot) == []


def test_a_clock_of_years_does_not_overflow() -> None:
    """Monotonic clocks count from the machine's start."""
    hot = record()
    for now in (0.0, 1e12, 1e12):
        hot.note("chat", "a", b"x", now=now)

    (found,) = hot.hottest("chat", 1, now=1e12)
    assert found.weight == pytest.approx(2.0)
    assert hot.hottest("chat", 1, now=1e15)[0].weight < 1e-200


def test_records_of_several_replicas_add_up() -> None:
    """Two halves of the traffic of one prefix are hotter than a whole smaller one."""
    one = [HotPrefix("a", b"x", 2.0), HotPrefix("a", b"y", 3.0)]
    two = [HotPrefix("a", b"x", 2.0), HotPrefix("b", b"x", 1.0)]

    assert merge([one, two, []], 2) == [HotPrefix("a", b"x", 4.0), HotPrefix("a", b"y", 3.0)]
    assert merge([], 2) == []


def test_copies_with_one_key_are_one_prefix_with_the_newest_bytes() -> None:
    """However long the newest is."""
    hot = HotPrefixes(capacity=2, max_bytes=8000, half_life_s=100.0)
    for now in range(50):
        hot.note("chat", "a", b"at %d" % now, now=now, key=b"k")
        check_bounds(hot, 2, 8000, "chat")
    hot.note("chat", "a", b"another", now=50, key=b"l")

    first, second = hot.hottest("chat", 8, now=60)

    assert (first.prefix, first.key, first.age_s) == (b"at 49", b"k", 11)
    assert second.prefix == b"another"
    assert first.weight > 30 * second.weight
    assert hot.held_bytes == len(b"at 49" + b"another")


def test_a_key_is_one_group_s_and_one_lane_s() -> None:
    """The same words under another salt are another cache."""
    hot = HotPrefixes(capacity=8, max_bytes=8000, half_life_s=100.0)
    for lane, group in (("chat", "a"), ("chat", "b"), ("quality", "a")):
        hot.note(lane, group, b"x", now=0, key=b"k")

    assert [len(hot.hottest(lane, 8, now=0)) for lane in ("chat", "quality")] == [2, 1]


def test_a_copy_that_grew_pushes_out_the_coldest() -> None:
    """The bound is of bytes, whoever brings them."""
    hot = HotPrefixes(capacity=8, max_bytes=80, half_life_s=100.0)
    for number in range(8):
        hot.note("chat", "a", b"%5d" % number, now=number, key=b"%d" % number)
    for number in range(1, 8):
        hot.note("chat", "a", b"%10d" % number, now=10 + number, key=b"%d" % number)
        check_bounds(hot, 8, 80, "chat")
    hot.note("chat", "a", b"x" * 10, now=20, key=b"new")
    hot.note("chat", "a", b"y" * 10, now=21, key=b"newer")
    check_bounds(hot, 8, 80, "chat")

    kept = {x.key for x in hot.hottest("chat", 20, now=21)}
    assert b"newer" in kept and not {b"0", b"new"} & kept


def test_several_replicas_copies_add_up_and_the_newest_is_read() -> None:
    """By age: the clocks of replicas do not compare."""
    parts = [
        [HotPrefix("a", b"old", 5.0, b"k", age_s=60), HotPrefix("a", b"x", 7.0)],
        [HotPrefix("a", b"new", 4.0, b"k", age_s=2)],
        [HotPrefix("a", b"older", 1.0, b"k", age_s=90)],
    ]

    first, second = merge(parts, 8)

    assert (first.prefix, first.weight, first.age_s) == (b"new", pytest.approx(10.0), 2)
    assert second.prefix == b"x"
