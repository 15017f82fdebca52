"""A replica whose engine goes and comes back."""

import asyncio

import pytest

from router.swap.terms import Act, Phase
from serve_app.engine.sleeping import switch as module
from serve_app.engine.sleeping.engine import EngineFacts
from serve_app.engine.sleeping.switch import EngineSwitch


class Engine:
    """Does what it is told, unless it is to fail; `hangs` never comes back."""

    def __init__(self) -> None:
        self.done, self.fails, self.hangs = [], set(), set()

    async def _do(self, what):
        self.done.append(what)
        if what in self.hangs:
            await asyncio.Event().wait()
        if what in self.fails:
            raise RuntimeError(what)

    async def load(self):
        await self._do("load")
        return self.app

    async def app(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"engine"})

    async def warm(self):
        await self._do("warm")

    async def unload(self):
        await self._do("unload")

    async def sleep(self):
        await self._do("sleep")

    async def wake(self):
        await self._do("wake")

    async def facts(self):
        return EngineFacts(frozenset({"GPU-1"}), 7.5)


@pytest.fixture
def world():
    class World:
        engine, open, ended = Engine(), 0, 0

        def end(self):
            self.ended += 1

    found = World()
    found.switch = EngineSwitch(
        found.engine,
        lane="a",
        pool="p",
        in_flight=lambda: found.open,
        load_within_s=0.2,
        end=found.end,
    )
    return found


async def settle(switch):
    async with asyncio.timeout(5):
        while switch.phase in (Phase.WAKING, Phase.FALLING):  # noqa: ASYNC110
            await asyncio.sleep(0)
    return switch.row()


async def ask(switch, path="/v1/chat/completions"):
    sent = []

    async def send(message):
        sent.append(message)

    await switch({"type": "http", "path": path}, None, send)
    return sent[0]["status"], sent[1]["body"]


async def test_an_engine_is_loaded_sleeps_wakes_and_is_unloaded(world):
    switch = world.switch
    assert switch.obey(Act.WAKE)["phase"] == "waking"
    row = await settle(switch)
    assert row == {"phase": "awake", "cards": ["GPU-1"], "weights_gib": 7.5, "error": ""}
    assert await switch.find_cards() == {"GPU-1"}
    for act in (Act.SLEEP, Act.WAKE, Act.UNLOAD, Act.WAKE):
        switch.obey(act)
        await settle(switch)

    done = ["load", "warm", "sleep", "wake", "unload", "load", "warm"]
    assert world.engine.done == done
    text = switch.metrics.text()
    assert 'pointsman_swaps_total{pool="p"} 3.0' in text
    assert "pointsman_lane_awake 1.0" in text


async def test_its_routes_are_there_while_it_is_and_what_is_observed_always(world):
    assert await ask(world.switch) == (503, module._ASLEEP)
    assert await ask(world.switch, "/metrics/") == (200, b"")
    world.switch.obey(Act.WAKE)
    await settle(world.switch)
    assert await ask(world.switch) == (200, b"engine")
    world.switch.obey(Act.SLEEP)
    await settle(world.switch)
    assert (await ask(world.switch))[0] == 503
    assert await ask(world.switch, "/metrics/") == (200, b"engine")


async def test_what_is_done_or_under_way_is_not_begun_again_and_streams_are_not_broken(world):
    switch = world.switch
    assert switch.obey(Act.SLEEP)["phase"] == "unloaded"
    switch.obey(Act.WAKE)
    assert switch.obey(Act.UNLOAD)["phase"] == "waking"
    await settle(switch)
    world.open = 1
    assert switch.obey(Act.SLEEP)["phase"] == "awake"
    assert switch.obey(Act.WAKE)["phase"] == "awake"
    assert world.engine.done == ["load", "warm"]


async def test_an_engine_that_does_not_start_leaves_nothing_behind(world):
    world.engine.fails = {"warm"}
    world.switch.obey(Act.WAKE)
    row = await settle(world.switch)

    assert (row["phase"], row["error"]) == ("unloaded", "RuntimeError")
    assert world.engine.done[-1] == "unload"
    assert (await ask(world.switch))[0] == 503
    assert "pointsman_lane_wake_failures_total 1.0" in world.switch.metrics.text()


async def test_an_engine_that_does_not_sleep_is_unloaded(world):
    world.switch.obey(Act.WAKE)
    await settle(world.switch)
    world.engine.fails = {"sleep"}
    world.switch.obey(Act.SLEEP)

    assert (await settle(world.switch))["phase"] == "unloaded"
    assert world.engine.done[-2:] == ["sleep", "unload"]


async def test_one_that_hangs_on_its_way_back_from_host_memory_has_no_time_for_a_load(
    world, monkeypatch
):
    monkeypatch.setattr(module, "WAKE_WITHIN_S", 0.02)
    world.switch._load_within_s = 3600.0
    for act in (Act.WAKE, Act.SLEEP):
        world.switch.obey(act)
        await settle(world.switch)
    world.engine.hangs = {"wake"}
    world.switch.obey(Act.WAKE)
    async with asyncio.timeout(5):
        while not world.ended:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    world.switch.close()


async def test_a_replica_ends_whose_engine_hangs_or_does_not_go(world):
    world.engine.hangs = {"load"}
    world.switch.obey(Act.WAKE)
    async with asyncio.timeout(5):
        while not world.ended:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    world.switch.close()

    other = EngineSwitch(
        world.engine,
        lane="a",
        pool="p",
        in_flight=lambda: 0,
        load_within_s=1.0,
        end=world.end,
    )
    world.engine.hangs, world.engine.fails = set(), {"unload"}
    other.obey(Act.WAKE)
    await settle(other)
    other.obey(Act.UNLOAD)
    await settle(other)
    assert world.ended == 2
