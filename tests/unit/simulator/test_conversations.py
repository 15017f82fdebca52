"""The recorded conversations that every way of choosing a replica gets alike."""

from __future__ import annotations

from itertools import pairwise

from benchmarks.support.conversations import Mix, Turn, record


def by_session(turns: list[Turn]) -> dict[int, list[Turn]]:
    found: dict[int, list[Turn]] = {}
    for turn in turns:
        found.setdefault(turn.session, []).append(turn)
    return found


def test_a_seed_is_a_recording() -> None:
    assert record(Mix(), 1) == record(Mix(), 1)
    assert record(Mix(), 1) != record(Mix(), 2)


def test_every_turn_goes_on_from_the_one_before() -> None:
    for turns in by_session(record(Mix(), 3)).values():
        assert len(turns) in (6, 7)
        assert [len(turn.messages) for turn in turns] == [2 * n for n in range(1, len(turns) + 1)]
        for before, after in pairwise(turns):
            assert after.messages[: len(before.messages)] == before.messages
            assert after.messages[-2]["role"] == "assistant"


def test_tenants_share_a_system_prompt_of_the_given_length_and_nothing_else() -> None:
    sessions = by_session(record(Mix(), 4))
    systems = {turns[0].tenant: turns[0].messages[0]["content"] for turns in sessions.values()}
    assert len(sessions) == 40
    assert len(set(systems.values())) == 8
    assert all(len(text.split()) == 300 for text in systems.values())
    assert all(t.messages[0]["content"] == systems[t.tenant] for s in sessions.values() for t in s)
    assert len({turns[0].messages[1]["content"] for turns in sessions.values()}) == 40


def test_sessions_are_alive_together() -> None:
    turns = record(Mix(), 5)
    ends = {turn.session: place for place, turn in enumerate(turns)}
    begun = {turn.session for turn in turns[: min(ends.values())]}
    assert len(begun) > 30
    for place in range(len(turns) // 2):
        assert len({turn.session for turn in turns[place : place + 9]}) == 9
