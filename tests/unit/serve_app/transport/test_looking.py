"""Looking at something on a thread, and tasks that wake up together."""

from __future__ import annotations

import asyncio
import threading

import pytest
import uvicorn

from serve_app.transport import beat as beat_module
from serve_app.transport.beat import beat
from serve_app.transport.looking import look_until
from serve_app.transport.replica_server import ReplicaServer


async def test_a_look_is_repeated_until_it_finds_something():
    """Also after one that failed, which the log hears of."""
    found = iter([None, ValueError("a fault"), False, "news"])
    threads = []

    def look() -> object:
        threads.append(threading.current_thread().name)
        one = next(found)
        if isinstance(one, Exception):
            raise one
        return one

    async with asyncio.timeout(10):
        await look_until("watch", look, 0.0)

    assert threads == ["watch"] * 4


async def test_who_is_cancelled_looks_no_more():
    """But for the look that is under way."""
    begun, may_end, looks = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def look() -> None:
        looks.append(threading.current_thread())
        loop.call_soon_threadsafe(begun.set)
        may_end.wait(10)

    task = asyncio.create_task(look_until("watch", look, 0.0))
    await asyncio.wait_for(begun.wait(), 10)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    may_end.set()

    await asyncio.to_thread(looks[0].join, 10)
    assert len(looks) == 1


@pytest.mark.parametrize(
    ("now_s", "period_s", "slept_s"),
    [(10.25, 1.0, 0.75), (10.25, 0.5, 0.25), (10.75, 2.0, 1.25), (9.999, 1.0, 1.001)],
)
async def test_a_beat_is_a_multiple_of_its_period(monkeypatch, now_s, period_s, slept_s):
    """A timer that fired a little early does not fire twice."""
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(beat_module, "_PHASE_S", 0.0)
    monkeypatch.setattr(beat_module.asyncio, "sleep", sleep)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now_s)

    await beat(period_s)

    monkeypatch.undo()
    assert slept == pytest.approx([slept_s])


async def test_a_server_sleeps_until_it_is_told_to_end(monkeypatch):
    """Without a date it looks at nothing meanwhile."""
    server = ReplicaServer(uvicorn.Config(lambda: None, date_header=False))
    ticks = []

    async def on_tick(_: int) -> bool:
        ticks.append(1)
        return server.should_exit

    monkeypatch.setattr(server, "on_tick", on_tick)
    running = asyncio.create_task(server.main_loop())
    await asyncio.sleep(0)
    assert not server.should_exit

    server.should_exit = True

    await asyncio.wait_for(running, 10)
    assert len(ticks) == 2
