"""Session ids, session keys and the memory of where sessions went."""

import pytest

from router.placement.session import (
    Affinity,
    Presence,
    SessionMemory,
    derive_session_id,
    is_session_id,
    session_key,
)


@pytest.mark.parametrize("text", ["a", "x" * 256, "conversation 7", "été"])
def test_printable_text_of_up_to_256_characters_is_a_session_id(text):
    """The bounds are inclusive."""
    assert is_session_id(text)


@pytest.mark.parametrize("text", ["", "x" * 257, "a\nb", "a\0b", "\x7f"])
def test_empty_long_or_unprintable_text_is_not_a_session_id(text):
    """What could confuse a header or a key is refused."""
    assert not is_session_id(text)


def test_the_same_opening_gives_the_same_session_id():
    """An unmodified client sticks without sending an id."""
    first = derive_session_id("Be brief.", "Hello")

    assert first == derive_session_id("Be brief.", "Hello")
    assert first.startswith("derived-")
    assert is_session_id(first)


def test_another_opening_gives_another_session_id():
    """System prompt and first message both count, and are kept apart."""
    ids = {derive_session_id("a", "b"), derive_session_id("ab", ""), derive_session_id("", "ab")}

    assert len(ids) == 3


def test_a_lone_surrogate_in_the_opening_is_accepted():
    """JSON may carry half a character; it still has a session."""
    assert derive_session_id("", "\ud800").startswith("derived-")


def test_tenants_cannot_share_a_session():
    """The same id under two tenants is two sessions."""
    assert session_key("a", "1") != session_key("b", "1")


def test_a_session_is_new_then_hits_then_moves():
    """Affinity compares each request with the one before it."""
    memory = SessionMemory(capacity=10, ttl_s=60)

    seen = [memory.note("s", "chat", replica, now=0) for replica in ("r1", "r1", "r2", "r2")]

    assert seen == [Affinity.NEW, Affinity.HIT, Affinity.MOVED, Affinity.HIT]
    assert memory.recent(now=0) == {"chat": 1}


def test_a_session_that_the_load_bound_moved_has_spilled():
    """New or known; where it stays after that is a hit."""
    memory = SessionMemory(10, 10)

    outcomes = [
        memory.note("a", "chat", "r2", now=0, spilled=True),
        memory.note("a", "chat", "r2", now=1),
        memory.note("a", "chat", "r3", now=2, spilled=True),
    ]

    assert outcomes == [Affinity.SPILLED, Affinity.HIT, Affinity.SPILLED]


def test_a_session_that_changes_lanes_is_counted_in_the_new_one():
    """A session is in one lane at a time."""
    memory = SessionMemory(capacity=10, ttl_s=60)
    memory.note("s", "chat", "r1", now=0)

    memory.note("s", "quality", "r9", now=1)

    assert memory.recent(now=1) == {"quality": 1}


def test_a_session_is_forgotten_after_its_ttl():
    """A session is recent up to and including `ttl_s` after its last request."""
    memory = SessionMemory(capacity=10, ttl_s=60)
    memory.note("s", "chat", "r1", now=0)

    memory.expire(now=60)
    still_there = len(memory)

    assert still_there == 1
    assert memory.recent(now=60.1) == {}
    assert len(memory) == 0


def test_a_full_memory_forgets_the_least_recently_used_session():
    """Capacity is kept by forgetting, never by refusing."""
    memory = SessionMemory(capacity=2, ttl_s=60)
    memory.note("old", "chat", "r1", now=0)
    memory.note("kept", "chat", "r1", now=1)
    memory.note("old", "chat", "r1", now=2)

    memory.note("new", "chat", "r1", now=3)

    assert len(memory) == 2
    assert memory.note("old", "chat", "r1", now=4) is Affinity.HIT
    assert memory.note("kept", "chat", "r1", now=5) is Affinity.NEW
    assert memory.recent(now=5) == {"chat": 2}


def test_a_session_is_at_work_from_its_first_open_request_to_its_last():
    """Once per lane, however many it has."""
    presence = Presence()
    for lane, key in (("chat", "a"), ("chat", "a"), ("chat", "b"), ("quality", "a")):
        presence.enter(lane, key)
    assert presence.active() == {"chat": 2, "quality": 1}

    presence.leave("chat", "a")
    presence.leave("quality", "a")
    assert presence.active() == {"chat": 2}

    presence.leave("chat", "a")
    presence.leave("chat", "b")
    assert presence.active() == {}
