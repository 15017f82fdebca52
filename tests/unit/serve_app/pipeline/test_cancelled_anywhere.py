"""A client may leave at any moment: whatever its request held is given back."""

import asyncio
import contextlib
import json
import time

import pytest

from router.limits.reservation import Reservation
from serve_app.bodies import big_bodies
from tests.unit.serve_app.conftest import with_ceilings
from tests.unit.serve_app.socket_world import until
from tests.unit.serve_app.uploads import CHAT, HI

pytestmark = pytest.mark.security

STREAM = {**HI, "stream": True}
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
TURNS = 400
"""Of the event loop, of which no request here needs as many."""


class Beats:
    """Leases that grow at the third wait; each lasts some turns of the event loop."""

    def __init__(self, world) -> None:
        self.world, self.waits = world, 0

    async def may_grow(self, *_, **__) -> bool:
        self.waits += 1
        for _ in range(3):
            await asyncio.sleep(0)
        if self.waits == 3:
            # Of requests at the header, then of tokens.
            with_ceilings(self.world, requests_per_minute=600_000, tokens_per_minute=1)
        elif self.waits == 6:
            with_ceilings(self.world)
        ceiling_of(self.world)
        return True


def ceiling_of(world):
    return world.state.ceiling(world.state.policies.auth.tenant("acme"))


def spend_all(world) -> None:
    """The tenant's minute: a request, and a token."""
    with_ceilings(world, requests_per_minute=1, tokens_per_minute=1)
    ceiling, now = ceiling_of(world), time.monotonic()
    ceiling.try_request(now=now)
    one = ceiling.try_admit(1, now=now)
    if isinstance(one, Reservation):
        ceiling.settle(one, 1, now=now)


async def pause() -> None:
    """As anything that waits for another end does."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def slowed(step):
    """The same step, before and after a pause."""

    async def slow(*args, **kwargs):
        await pause()
        result = await step(*args, **kwargs)
        await pause()
        return result

    return slow


def begun(world, raw, path) -> asyncio.Task:
    """A request whose body comes in three pieces, from a client as slow as the engine."""
    pieces = [raw[:9], raw[9:20], raw[20:]]

    async def receive():
        await pause()
        if pieces:
            part = pieces.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(pieces)}
        await asyncio.Event().wait()
        return None

    async def send(_) -> None:
        await pause()

    lines = {"authorization": f"Bearer {world.keys['acme']}", "content-length": str(len(raw))}
    headers = [(k.encode(), v.encode()) for k, v in lines.items()]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    scope["client"] = ("127.0.0.1", 1)
    return asyncio.create_task(world.gateway(scope, receive, send))


def held(world) -> dict[str, float]:
    """Everything that must be 0 when nothing is open."""
    ceiling = ceiling_of(world)
    turn = world.pipeline.big_bodies.turn
    return {
        "uploads": len(world.state.uploads.held),
        "of tenants": len(world.state.uploads.held),
        "arriving": ceiling.arriving,
        "running": ceiling.running,
        "reserved": ceiling.reserved,
        "in flight": world.in_flight,
        "queued": sum(sum(x.values()) for x in world.state.admission.depths().values()),
        "in line": len(turn.waiting),
        "present": sum(world.state.presence.active().values()),
    }


@pytest.mark.parametrize("path", [CHAT, "/v1/messages/count_tokens", "/v1/route"])
@pytest.mark.parametrize("waits", ["for nothing", "in line", "for leases"])
async def test_at_every_turn_of_the_loop(patient, engine, stream, monkeypatch, path, waits):
    """Cancelled once after each number of turns that it takes."""
    raw = json.dumps(STREAM if path == CHAT else HI).encode()
    with_ceilings(patient, concurrent_requests=5, requests_per_minute=1_000_000)
    if waits == "in line":
        monkeypatch.setattr(big_bodies, "BIG_BYTES", 1)
        monkeypatch.setattr(big_bodies, "PIECE_S", 0.0)
    patient.lanes.choose, patient.lanes.open = map(
        slowed, (patient.lanes.choose, patient.lanes.open)
    )
    for turns in range(TURNS):
        if waits == "for leases":
            patient.state.leases = Beats(patient)
            spend_all(patient)
        one = stream(EVENT, EVENT, b"data: [DONE]\n\n")
        patient.lanes.answers = [one if path == CHAT else engine({"input_tokens": 9})]
        task = begun(patient, raw, path)
        for _ in range(turns):
            await asyncio.sleep(0)
        is_over = task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        # Who was in line hands the turn on a moment later.
        await until(lambda: not patient.pipeline.big_bodies.turn.is_taken)
        assert not any(held(patient).values()), (turns, held(patient))
        if is_over:
            assert turns > 10
            if waits == "for leases":
                assert patient.state.leases.waits == (6 if path == CHAT else 3)
            return
    pytest.fail("it never ended")
