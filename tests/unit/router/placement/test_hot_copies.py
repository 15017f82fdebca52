"""Copies of one prefix that differ in a clock are one prefix, of which the newest is kept."""

import pytest

from router.placement.hot_prefixes import HotPrefix, HotPrefixes, merge


def test_copies_with_one_key_are_one_prefix_with_the_newest_bytes() -> None:
    """However long the newest is."""
    hot = HotPrefixes(capacity=2, max_bytes=8000, half_life_s=100.0)
    for now in range(50):
        hot.note("chat", "a", b"at %d" % now, now=now, key=b"k")
        hot.check_integrity()
    hot.note("chat", "a", b"another", now=50, key=b"l")

    first, second = hot.hottest("chat", 8, now=60)

    assert (first.prefix, first.key, first.age_s) == (b"at 49", b"k", 11)
    assert second.prefix == b"another"
    assert first.weight > 30 * second.weight
    assert hot.size_bytes == len(b"at 49" + b"another")


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
        hot.check_integrity()
    hot.note("chat", "a", b"x" * 10, now=20, key=b"new")
    hot.note("chat", "a", b"y" * 10, now=21, key=b"newer")
    hot.check_integrity()

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
