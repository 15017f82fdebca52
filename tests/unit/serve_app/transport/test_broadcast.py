"""Every replica is asked; who is late or fails does not silence the others."""

from __future__ import annotations

import asyncio

import pytest
from ray.serve.handle import DeploymentBroadcastResponse

from serve_app.config.serving import TimeoutConfig
from serve_app.placement.lanes import Lanes
from serve_app.transport.broadcast import ask_all


class Replica:
    """What Serve has of one asked replica: an answer, a fault, or nothing yet."""

    def __init__(self, answer=None, fault=None) -> None:
        self.answer = answer
        self.fault = fault
        self.is_given_up = False

    async def get_async(self):
        if self.fault is not None:
            raise self.fault
        if self.answer is None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.is_given_up = True
                raise
        return self.answer


class Handle:
    """Broadcasts over these replicas with Serve's own response."""

    def __init__(self, *replicas, after_s=0.0) -> None:
        self.replicas = list(replicas)
        self.after_s = after_s
        self.asked = []

    def broadcast(self, method, *args):
        async def send():
            await asyncio.sleep(self.after_s)
            return self.replicas

        self.asked.append((method, *args))
        return DeploymentBroadcastResponse(send(), asyncio.get_running_loop())


async def test_every_answer_is_returned_and_faults_are_told():
    """In the order in which Serve asked."""
    handle = Handle(Replica({"a": 1}), Replica(fault=RuntimeError("died")), Replica({"b": 2}))

    one, fault, two = await ask_all(handle, "snapshot", "chat", 8, within_s=5)

    assert (one, two) == ({"a": 1}, {"b": 2})
    assert isinstance(fault, RuntimeError)
    assert handle.asked == [("snapshot", "chat", 8)]


async def test_one_that_hangs_is_told_and_given_up():
    """The others' answers are there all the same."""
    hanging = Replica()
    handle = Handle(Replica({"a": 1}), hanging, Replica({"b": 2}))

    one, late, two = await ask_all(handle, "snapshot", within_s=0.05)

    assert (one, two) == ({"a": 1}, {"b": 2})
    assert isinstance(late, TimeoutError)
    await asyncio.sleep(0)
    assert hanging.is_given_up


async def test_one_whose_request_was_cancelled_is_as_late():
    """Serve tells it by cancelling who waits."""
    handle = Handle(Replica(fault=asyncio.CancelledError()), Replica({"b": 2}))

    cancelled, two = await ask_all(handle, "snapshot", within_s=5)

    assert isinstance(cancelled, TimeoutError)
    assert two == {"b": 2}


async def test_nobody_to_ask_is_no_answer():
    """All of them had just died."""
    assert await ask_all(Handle(), "snapshot", within_s=5) == []


async def test_it_is_told_when_it_is_not_known_in_time_who_is_there():
    """The caller falls back to what it knows itself."""
    with pytest.raises(TimeoutError):
        await ask_all(Handle(Replica({"a": 1}), after_s=5), "snapshot", within_s=0.02)


async def test_who_gives_up_waiting_gives_up_asking():
    """Cancelled from outside, nothing goes on."""
    hanging = Replica()
    asking = asyncio.create_task(ask_all(Handle(hanging), "snapshot", within_s=60))
    await asyncio.sleep(0.01)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await asyncio.sleep(0)
    assert hanging.is_given_up


async def test_a_lanes_load_is_told_whole_and_its_metrics_as_they_come():
    """A busy replica is no replica less: slots are given out by the load."""
    rows = [{"replica": "a"}, {"replica": "b"}]
    late = Handle(Replica(rows[0]), Replica(), Replica(rows[1]))
    dead = Handle(Replica(rows[0]), Replica(fault=RuntimeError("died")), Replica(rows[1]))
    lanes = Lanes({"late": late, "dead": dead}, "s3cret", TimeoutConfig(), {})

    assert await lanes.engine_load("late") == []
    assert await lanes.engine_metrics("late") == rows
    assert await lanes.engine_load("dead") == await lanes.engine_metrics("dead") == rows
    await lanes.close()
