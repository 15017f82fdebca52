"""The calls of one task: where they are placed, in whose name they wait, what they count as."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.serve_app.conftest import FakeResponse

CHAT = "/v1/chat/completions"


def asks(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.fixture
def seen(world, engine, monkeypatch):
    """What placement and the lane's queue are told of each request."""
    turns, users = [], []
    choose, take = world.lanes.choose, world.state.admission.take

    async def choosing(lane: str, turn: Any, avoid: Any = frozenset()) -> Any:
        turns.append(turn)
        return await choose(lane, turn, avoid)

    def taking(*args: Any, **more: Any) -> Any:
        users.append(more["user"])
        return take(*args, **more)

    monkeypatch.setattr(world.lanes, "choose", choosing)
    monkeypatch.setattr(world.state.admission, "take", taking)
    world.lanes.answers = [engine() for _ in range(8)]
    return turns, users


async def test_the_calls_of_a_task_are_one_users_and_have_one_home(world, seen):
    """Also where each has a session of its own, or none."""
    turns, users = seen
    for headers in ({"x-session-id": "a"}, {"x-session-id": "b"}, {}):
        told = {"x-task-id": "t-1", **headers}
        await world.post(CHAT, asks(f"Look at {headers}."), key="acme", headers=told)

    assert len({turn.task for turn in turns}) == len(set(users)) == 1
    assert len({turn.session for turn in turns}) == 3
    assert turns[0].task


async def test_without_a_task_a_session_is_the_user(world, seen):
    turns, users = seen
    await world.post(CHAT, asks("One."), key="acme", headers={"x-session-id": "a"})
    await world.post(CHAT, asks("Two."), key="acme", headers={"x-session-id": "a", "x-task-id": ""})
    await world.post(CHAT, asks("Three."), key="acme")

    assert [turn.task for turn in turns] == [""] * 3
    assert users[:2] == ["a", "a"] and users[2].startswith("derived-")


async def test_a_task_is_of_its_tenant(world, seen):
    """Nobody joins another tenant's; nor is a session of that name a part of it."""
    turns, users = seen
    for key in ("acme", "slow"):
        await world.post(CHAT, asks("One."), key=key, headers={"x-task-id": "t"})
    await world.post(CHAT, asks("One."), key="acme", headers={"x-session-id": "t"})

    assert turns[0].task != turns[1].task
    assert users[2] != users[0]


async def test_a_long_task_id_is_cut(world, seen):
    turns, _ = seen
    await world.post(CHAT, asks("One."), key="acme", headers={"x-task-id": "t" * 5_000})

    assert len(turns[0].task) < 300


async def test_a_task_counts_as_one_active_session(world, engine):
    """Twelve parallel calls of an agent are one agent."""
    answers = [FakeResponse(asyncio.Event(), *engine().parts) for _ in range(3)]
    waits = [answer.parts[0] for answer in answers]
    world.lanes.answers = list(answers)
    calls = [
        asyncio.create_task(
            world.post(CHAT, asks(f"Part {n}."), key="acme", headers={"x-task-id": "t"})
        )
        for n in range(3)
    ]
    await asyncio.gather(*(answer.waits.wait() for answer in answers))

    assert world.state.presence.active() == {"chat": 1}

    for wait in waits:
        wait.set()
    await asyncio.gather(*calls)
    assert world.state.presence.active() == {}
