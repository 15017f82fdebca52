"""Large bodies are read one at a time, in pieces, with time for the others in between."""

import asyncio
import time

import pytest

from serve_app.bodies import big_bodies
from serve_app.bodies.big_bodies import BIG_BYTES, PIECE_S, BigBodies, Turn

pytestmark = pytest.mark.security


class Clock:
    """Time that passes only where a test says so, and what was slept."""

    def __init__(self, monkeypatch) -> None:
        self.now, self.slept, self.released = 0.0, [], []
        monkeypatch.setattr(big_bodies.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(big_bodies.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds) -> None:
        self.slept.append(seconds)
        self.now += seconds


def steps_of(clock, pieces):
    for seconds in pieces:
        clock.now += seconds
        yield
    return "read"


async def test_after_each_piece_the_others_have_as_long_as_it_took(monkeypatch):
    """Short pieces are done together."""
    clock = Clock(monkeypatch)
    pieces = [3 * PIECE_S, PIECE_S / 4, PIECE_S / 4, 5 * PIECE_S, PIECE_S / 4]

    result = await BigBodies().read(steps_of(clock, pieces), BIG_BYTES, "acme")

    assert result == "read"
    assert clock.slept == pytest.approx([3 * PIECE_S, 5.5 * PIECE_S])


async def test_a_small_body_waits_for_nobody(monkeypatch):
    """Not even for the large one that is being read."""
    bodies, order = BigBodies(), []

    def steps(name):
        for number in range(3):
            order.append(f"{name}{number}")
            time.sleep(PIECE_S)
            yield

    large = asyncio.create_task(bodies.read(steps("large"), BIG_BYTES, "acme"))
    await asyncio.sleep(0)
    await bodies.read(steps("small"), BIG_BYTES - 1, "acme")
    assert order == ["large0", "small0", "small1", "small2"]
    await large


async def test_large_bodies_are_read_one_after_the_other():
    """So that two of them do not take two turns of three."""
    bodies, order = BigBodies(), []

    def steps(name):
        for _ in range(3):
            order.append(name)
            time.sleep(PIECE_S)
            yield

    await asyncio.gather(*(bodies.read(steps(name), BIG_BYTES, "acme") for name in "abc"))

    assert order == list("aaabbbccc")


async def test_a_tenant_with_many_large_bodies_waits_for_itself():
    """The other tenant's come every second time."""
    bodies, order = BigBodies(), []

    def steps(name):
        order.append(name)
        yield

    names = ["a1", "a2", "a3", "a4", "b1", "b2"]
    await asyncio.gather(*(bodies.read(steps(x), BIG_BYTES, x[0]) for x in names))

    assert order == ["a1", "a2", "b1", "a3", "b2", "a4"]


async def test_who_leaves_the_line_holds_up_nobody():
    """Whether its turn had come or not."""
    turn = Turn()
    await turn.take("a")
    waiting = [asyncio.create_task(turn.take(name)) for name in "bcd"]
    await asyncio.sleep(0)

    waiting[0].cancel()
    turn.leave()
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert [x.cancelled() for x in waiting] == [True, True, False]
    turn.leave()
    async with asyncio.timeout(30):
        await turn.take("e")


async def test_a_fault_in_one_leaves_the_line_open():
    """Whatever it is."""
    bodies = BigBodies()

    def fails():
        yield
        raise ZeroDivisionError

    def nothing():
        yield
        return "read"

    with pytest.raises(ZeroDivisionError):
        await bodies.read(fails(), BIG_BYTES, "acme")

    async with asyncio.timeout(30):
        assert await bodies.read(nothing(), BIG_BYTES, "acme") == "read"


# -- the loop ------------------------------------------------------------------------------


# -- what is looked at, at most -----------------------------------------------------------
