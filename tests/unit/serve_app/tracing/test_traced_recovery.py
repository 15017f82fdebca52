"""Traces of answers that took more than one engine: repeated streams, mended calls."""

from __future__ import annotations

import pytest

from tests.unit.serve_app.agents.answers import CHAT, MESSAGES, PATHS, RESPONSES, Answer, heard
from tests.unit.serve_app.conftest import with_tier
from tests.unit.serve_app.relay.test_repeated_streams import body as scripted
from tests.unit.serve_app.relay.test_repeated_streams import script_of
from tests.unit.serve_app.relay.test_tool_repair import HOLDS, WRONG, answered, body, streamed
from tests.unit.serve_app.simulated_lanes import Break, SimulatedLanes
from tests.unit.serve_app.tracing.calls import called, result

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
UNSAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-00", "tracestate": "v=1"}


async def test_what_is_asked_again_is_the_clients_trace_too_where_none_is_kept(world):
    """Else the engine would begin a trace of its own for what the client does not sample."""
    with_tier(world, **HOLDS)
    again = answered(CHAT, Answer([], [("add", ['{"a": 7}'])]))
    world.lanes.answers = [streamed(CHAT, Answer([], [WRONG])), again]

    await world.post(CHAT, body(CHAT), key="acme", headers=UNSAMPLED)

    told = [{k: sent.headers.get(k) for k in UNSAMPLED} for sent in world.lanes.opened]
    assert told == [UNSAMPLED, UNSAMPLED]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("holds", [True, False], ids=["held", "counted"])
async def test_results_of_a_stream_that_was_repeated_elsewhere_are_those_of_its_calls(
    traced, spans, path, holds
):
    """The client knows its first calls by the ids of the engine that was lost."""
    if holds:
        with_tier(traced, **HOLDS)
    for events in range(2, 60, 5):
        spans.clear()
        lanes = SimulatedLanes(cuts=[Break(events)], scripts={"": script_of()})
        traced.use(lanes)
        first, headers = scripted(path), {"x-task-id": f"t{events}"}
        raw = (await traced.post(path, first, key="acme", headers=headers)).content
        ids = list(heard(path, raw).ids.values())
        field = "input" if path == RESPONSES else "messages"
        said = [*first[field], *_results(path, ids)]
        await traced.post(path, {**first, field: said}, key="acme", headers=headers)

        tools = [x for x in spans if x.name.startswith("execute_tool")]
        assert [x.attributes["gen_ai.tool.call.id"] for x in tools] == ids and len(ids) == 2
        assert all(x.attributes["pointsman.tool.start_seen"] for x in tools), events
        if len(lanes.opened) < 3:
            break
    else:
        raise AssertionError("the stream has more events")
    assert events > 10


def _results(path, ids):
    """What a client sends behind a streamed answer that has called `run` and `read`."""
    if path == CHAT:
        return [called(*ids), *map(result, ids)]
    if path == MESSAGES:
        made = [{"type": "tool_use", "id": x, "name": "run", "input": {}} for x in ids]
        blocks = [{"type": "tool_result", "tool_use_id": x, "content": "x"} for x in ids]
        return [{"role": "assistant", "content": made}, {"role": "user", "content": blocks}]
    calls = [{"type": "function_call", "call_id": x, "name": "run", "arguments": "{}"} for x in ids]
    return [*calls, *({"type": "function_call_output", "call_id": x, "output": "x"} for x in ids)]
