"""What a stored conversation is to the pinned vLLM: what it is of a client that keeps its own."""

import pytest

from tests.unit.serve_app.responses.storing import TOOL, ask, sdk, store_responses

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("streams", [False, True])
async def test_the_pinned_vllm_reads_a_stored_tool_loop_as_one_conversation(world, streams):
    from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
    from vllm.entrypoints.openai.responses.utils import construct_input_messages

    lanes = store_responses(world)
    client = sdk(world)
    first = await ask(client, streams=streams, input="read it", tools=[TOOL])
    call = next(x for x in first.output if x.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "A"}
    second = await ask(
        client, streams=streams, input=[result], tools=[TOOL], previous_response_id=first.id
    )
    await ask(
        client, streams=streams, input="thanks", instructions="Be.", previous_response_id=second.id
    )

    request = ResponsesRequest.model_validate(lanes.opened[-1][2])
    messages = construct_input_messages(
        request_instructions=request.instructions, request_input=request.input
    )

    assert not request.store and request.previous_response_id is None
    (made,) = messages[2].pop("tool_calls")
    assert (made["id"], made["function"]["name"]) == (call.call_id, "read")
    assert messages == [
        {"role": "system", "content": "Be."},
        {"role": "user", "content": "read it"},
        {"role": "assistant", "reasoning": "Hm.", "content": "I look."},
        {"role": "tool", "content": "A", "tool_call_id": call.call_id},
        {"role": "assistant", "content": "It says A."},
        {"role": "user", "content": "thanks"},
    ]
