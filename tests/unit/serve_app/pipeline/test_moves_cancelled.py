"""A client leaves a request that is held, moves, or comes back, at any moment: nothing is kept."""

import asyncio
import contextlib
import json

import pytest

from serve_app.placement.lanes import NoReplica
from tests.unit.serve_app.conftest import FLEET
from tests.unit.serve_app.pipeline.test_cancelled_anywhere import begun, pause, slowed
from tests.unit.serve_app.pipeline.test_moving_up import CHAT, END, ROLE, ask, chunk, with_cascade

TURNS = 200
"""Of the event loop, of which no request here needs as many."""

SLOTS = {"engine_args": {"max_num_seqs": 2}}
LANES = {name: {**lane, **SLOTS} for name, lane in FLEET["lanes"].items()}


def kept(world) -> dict[str, float]:
    """Everything that must be 0 when nothing is open."""
    lanes = world.state.admission.status().values()
    return {
        "slots": sum(lane["used"] for lane in lanes),
        "reserved": world.reserved(),
        "in flight": world.in_flight,
        "present": sum(world.state.presence.active().values()),
        "metered": sum(world.meter.reserved.values()),
    }


@pytest.mark.parametrize("is_lost", [False, True], ids=["moves", "comes back"])
async def test_at_every_turn_of_the_loop(patient, stream, monkeypatch, is_lost):
    """Each request is counted as scored once, in whatever turn its client leaves."""
    raw = json.dumps(ask()).encode()
    world, lanes = patient, patient.lanes
    choose = lanes.choose

    async def choosing(lane, *args):
        if is_lost and lane == "quality":
            raise NoReplica(lane)
        return await choose(lane, *args)

    opening = lanes.open

    async def open_late(*args):
        await pause()
        return await opening(*args)

    lanes.choose, lanes.open = slowed(choosing), open_late
    ended = set()
    for turns in range(TURNS):
        with_cascade(world, lanes=lanes, fleet={"lanes": LANES})
        made = [stream(ROLE, chunk(), chunk() * 2, END), stream(ROLE, chunk("b"), END)]
        lanes.answers = list(made)
        noted = []
        note = world.state.escalation.note
        monkeypatch.setattr(
            world.state.escalation,
            "note",
            lambda *a, f=note, n=noted, **k: (n.append(a), f(*a, **k)),
        )
        task = begun(world, raw, CHAT)
        for _ in range(turns):
            await asyncio.sleep(0)
        is_over = task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

        assert set(kept(world).values()) == {0}, (turns, kept(world))
        opened = len(made) - len(lanes.answers)
        assert all(one.is_closed for one in made[:opened]), turns
        assert len(noted) <= 1
        ended |= {one[1].reason.value for one in noted}
        if is_over:
            break

    assert is_over and len(noted) == 1
    assert ended == {"default", "cascade"}
