"""A replay's places in a lane, by a clock of the test's own."""

import asyncio
from datetime import date

import pytest

from evals.replay.spare import QUIET_S, REST
from serve_app.commands.replay.daily import prune
from serve_app.commands.replay.spare import LOOK_PERIOD_S, SpareRoom, use_of


def status(running=0.0, queue=0.0, used=0, waiting=None, slots=16, verdict="ok"):
    desk = {"slots": slots, "used": used, "waiting": waiting or {}}
    row = {"running": running, "queue": queue, "kv_utilization": 0.1}
    return {
        "lanes": {"chat": row},
        "ingress": [{"admission": {"chat": desk}}, {"admission": {"chat": desk}}],
        "slo": [{"lane": "chat", "verdict": verdict}],
    }


class World:
    """A clock that sleeping advances, and what `/status` says."""

    def __init__(self, most=4) -> None:
        self.now, self.said, self.told, self.looks = 0.0, status(), [], 0
        self.room = SpareRoom(
            self.look, most, clock=lambda: self.now, sleep=self.sleep, told=self.told.append
        )

    async def look(self):
        self.looks += 1
        return self.said() if callable(self.said) else self.said

    async def sleep(self, seconds) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    async def one(self, took_s=1.0) -> float:
        """Have a request for so long; return when it began."""
        async with self.room.place("chat"):
            begun = self.now
            self.now += took_s
        return begun


async def test_beside_others_it_rests_nine_times_as_long_as_a_request_took() -> None:
    world = World()
    world.said = status(running=2)

    first, second = await world.one(took_s=2.0), await world.one()

    assert second - first >= 2.0 + REST * 2.0
    assert second - first <= 2.0 + REST * 2.0 + LOOK_PERIOD_S


async def test_a_lane_that_was_quiet_for_a_minute_is_taken_without_rest() -> None:
    world = World()
    await world.one()
    while world.now < QUIET_S + 3 * LOOK_PERIOD_S:
        await world.one(took_s=0.5)

    assert await world.one() == await world.one() - 1.0
    world.said = status(running=3)
    world.now += LOOK_PERIOD_S
    begun = await world.one()
    assert await world.one() - begun >= 1.0 + REST


async def test_it_waits_while_others_wait_and_says_why_once() -> None:
    world = World()
    world.said = lambda: status(waiting={"paid": 1} if world.looks < 6 else None)

    await world.one()

    assert world.looks == 6
    assert world.told == ["chat: requests wait"]


async def test_a_deployment_that_does_not_answer_is_sent_nothing() -> None:
    world = World()
    world.said = lambda: None if world.looks < 4 else status()

    await world.one()

    assert world.looks == 4
    assert world.told == ["chat: /status does not answer"]


async def test_status_is_asked_once_a_period_whoever_waits() -> None:
    world = World()
    world.said = status(running=9)
    waiting = [asyncio.create_task(world.one()) for _ in range(8)]

    for _ in range(50):
        await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert world.looks <= world.now / LOOK_PERIOD_S + 1


@pytest.mark.parametrize(
    ("said", "running", "waiting", "slots"),
    [
        (status(running=3, used=1), 3, 0, 32),
        (status(running=1, used=4), 8, 0, 32),
        (status(queue=1, waiting={"free": 2}), 0, 5, 32),
        (status(slots=None), 0, 0, None),
        ({"tenant": "replay"}, 0, 0, None),
    ],
)
def test_what_a_lane_has_free_is_read_of_its_engines_and_its_desks(
    said, running, waiting, slots
) -> None:
    use = use_of(said, "chat")

    assert (use.running, use.waiting, use.slots) == (running, waiting, slots)


def test_a_burning_objective_is_read() -> None:
    assert use_of(status(verdict="burning"), "chat").is_burning
    assert not use_of(status(), "chat").is_burning


def test_old_runs_are_deleted_and_nothing_else(tmp_path) -> None:
    for name in ("2026-11-01-chat", "2026-11-28-chat", "2026-99-99-x", "mine"):
        (tmp_path / name).mkdir()

    prune(tmp_path, date(2026, 11, 30))
    prune(tmp_path / "missing", date(2026, 11, 30))

    assert {x.name for x in tmp_path.iterdir()} == {"2026-11-28-chat", "2026-99-99-x", "mine"}
