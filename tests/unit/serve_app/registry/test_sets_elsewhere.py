"""Tool sets where other features meet them: stored conversations, and sockets."""

from datetime import UTC, datetime

import pytest

from serve_app.pipeline.state import IngressState
from serve_app.registry.tool_sets import Promotion
from tests.unit.serve_app.registry.tool_files import book_of, tool, write
from tests.unit.serve_app.responses.storing import TOOL, ask, sdk, store_responses

READ = {name: TOOL[name] for name in ("name", "description", "parameters")}
NAMED = {"tools": {"registry": "crm"}}


@pytest.mark.parametrize("streams", [False, True])
async def test_a_stored_conversation_names_its_set_each_turn_and_keeps_its_version(
    world, tmp_path, streams
):
    """Over a promotion; its tools are never carried over from what is stored."""
    lanes = store_responses(world)
    folder = tmp_path / "tools"
    write(folder, version=7, tools=[READ, tool("add_note")])
    book = book_of(folder, tmp_path)
    write(folder, version=8, tools=[READ, tool("add_note"), tool("call_back")])
    book.refresh(at_once=True)
    world.use(lanes, state=IngressState(world.state.policies, "s3", tool_book=book))
    client = sdk(world)

    first = await ask(client, streams=streams, input="read it", extra_body=NAMED)
    held = world.state.tool_sessions.of("crm", now=0.0)
    until = {"until": 2e10, "at": datetime.now(UTC)}
    assert book.store.promote("crm", Promotion(8, 7), held, **until)
    book.refresh()
    call = next(x for x in first.output if x.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "A"}
    second = await ask(
        client, streams=streams, input=[result], previous_response_id=first.id, extra_body=NAMED
    )
    await ask(client, streams=streams, input="thanks", previous_response_id=second.id)
    await ask(client, streams=streams, input="Another conversation.", extra_body=NAMED)

    assert second.output_text == "It says A."
    assert [len(body.get("tools") or []) for _, _, body in lanes.opened] == [2, 2, 0, 3]
    used = world.state.tool_sessions.of("crm", now=0.0)
    assert sorted(used.values()) == [7, 8] and held.items() <= used.items()
    assert world.count("pointsman_tool_set_requests_total", tool_set="crm@7") == 2


async def test_a_chat_on_a_socket_names_a_set(socket_world, tmp_path):
    write(tmp_path / "tools", version=7)
    state = socket_world.ingresses[0].state
    state.tool_book = book_of(tmp_path / "tools", tmp_path)
    client = await socket_world.connect()

    client.chat("a", **NAMED)
    told = await client.until_end("a")
    client.chat("b", tools={"registry": "crn"})
    (refused,) = await client.until_end("b")

    assert told[0]["headers"]["x-pointsman-tools"] == "crm@7"
    assert [x["type"] for x in told][-1] == "done"
    assert refused["status"] == 400 and "did you mean 'crm'?" in str(refused["error"])
    assert set(state.tool_sessions.of("crm", now=0.0).values()) == {7}
