"""Stored responses, as the stock SDK of OpenAI's uses them."""

import openai
import pytest

from tests.unit.serve_app.responses.storing import RESPONSES, TOOL, ask, sdk, store_responses

BOTH = pytest.mark.parametrize("streams", [False, True])


@BOTH
async def test_a_conversation_goes_on_from_the_id_of_its_last_response(world, streams):
    lanes = store_responses(world)
    client = sdk(world)

    first = await ask(client, streams=streams, input="Hi", instructions="Be kind.")
    second = await ask(client, streams=streams, input="thanks", previous_response_id=first.id)
    third = await ask(client, streams=streams, input="Bye", previous_response_id=second.id)

    assert [x.output_text for x in (first, second, third)] == [
        "Hello.",
        "You are welcome.",
        "Hello.",
    ]
    texts = [[(x["role"], _text(x)) for x in asked] for asked in lanes.inputs[1:]]
    assert texts[0] == [("user", "Hi"), ("assistant", "Hello."), ("user", "thanks")]
    assert texts[1] == [
        *texts[0],
        ("assistant", "You are welcome."),
        ("user", "Bye"),
    ]
    assert third.previous_response_id == second.id


def _text(item):
    content = item["content"]
    return content if isinstance(content, str) else content[0]["text"]


@BOTH
async def test_what_the_engine_reads_only_grows_at_its_end(world, streams):
    """So the prefix cache holds."""
    lanes = store_responses(world)
    client = sdk(world)
    previous = None

    for _ in range(5):
        asked = {"input": [{"role": "user", "content": "Hi"}], "previous_response_id": previous}
        previous = (await ask(client, streams=streams, **asked)).id

    for earlier, later in zip(lanes.inputs[1:], lanes.inputs[2:], strict=False):
        assert later[: len(earlier)] == earlier and len(later) == len(earlier) + 2


@BOTH
async def test_instructions_and_tools_are_each_request_s_own(world, streams):
    lanes = store_responses(world)
    client = sdk(world)

    first = await ask(client, streams=streams, input="Hi", instructions="Be kind.", tools=[TOOL])
    await ask(client, streams=streams, input="Bye", previous_response_id=first.id)

    body = lanes.opened[1][2]
    assert "instructions" not in body and not body.get("tools")
    assert "Be kind." not in str(body)
    assert "previous_response_id" not in body and body["store"] is False


@BOTH
async def test_a_tool_loop_goes_on_with_calls_reasoning_and_results(world, streams):
    lanes = store_responses(world)
    client = sdk(world)

    first = await ask(client, streams=streams, input="read it", tools=[TOOL])
    call = next(x for x in first.output if x.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "A"}
    second = await ask(
        client, streams=streams, input=[result], tools=[TOOL], previous_response_id=first.id
    )

    assert second.output_text == "It says A."
    kinds = [x.get("type", "message") for x in lanes.inputs[1]]
    assert kinds == ["message", "reasoning", "message", "function_call", "function_call_output"]
    assert lanes.inputs[1][3]["call_id"] == call.call_id


async def test_a_streamed_call_may_be_answered_by_the_id_of_either_event(world):
    """vLLM reads its answer anew for the last event, with another id for each call."""
    lanes = store_responses(world)
    client = sdk(world)
    seen = {}
    async with client.responses.stream(model="chat", input="read it", tools=[TOOL]) as events:
        async for event in events:
            if event.type == "response.output_item.done" and event.item.type == "function_call":
                seen[event.type] = event.item.call_id
            if event.type == "response.completed":
                calls = [x for x in event.response.output if x.type == "function_call"]
                seen[event.type] = calls[0].call_id
                kept = event.response.id

    assert len(set(seen.values())) == 1 and len(seen) == 2
    stored = await client.responses.retrieve(kept)
    assert [x.call_id for x in stored.output if x.type == "function_call"] == [calls[0].call_id]
    assert lanes.opened


@BOTH
async def test_what_was_got_is_what_is_read_again(world, streams):
    store_responses(world)
    client = sdk(world)

    got = await ask(client, streams=streams, input="read it", tools=[TOOL], metadata={"a": "b"})
    read = await client.responses.retrieve(got.id)

    drop = {"parsed_arguments", "parsed"}
    assert _plain(read, drop) == _plain(got, drop)
    assert read.store is True and read.metadata == {"a": "b"}


def _plain(response, drop):
    def bare(value):
        if isinstance(value, dict):
            return {k: bare(v) for k, v in value.items() if k not in drop and v is not None}
        return [bare(x) for x in value] if isinstance(value, list) else value

    return bare(response.model_dump(mode="json", warnings=False))


async def test_the_input_of_a_response_is_listed_with_what_it_continues(world):
    store_responses(world)
    client = sdk(world)
    first = await ask(client, streams=False, input="Hi")
    second = await ask(
        client, streams=False, input=[{"role": "user", "content": "Bye"}],
        previous_response_id=first.id,
    )  # fmt: skip

    newest = await client.responses.input_items.list(second.id, limit=2)
    everything = [x async for x in client.responses.input_items.list(second.id, limit=1)]
    oldest = await client.responses.input_items.list(second.id, order="asc")

    assert [x.role for x in newest.data] == ["user", "assistant"] and newest.has_more
    assert [x.id for x in everything] == [x.id for x in reversed(oldest.data)]
    assert len({x.id for x in everything}) == 3
    assert [x.content[0].text for x in oldest.data] == ["Hi", "Hello.", "Bye"]
    assert [x.id for x in (await client.responses.input_items.list(first.id)).data] != []


async def test_items_that_were_sent_again_are_listed_once_each(world):
    """A client that keeps its conversation itself may name what is stored all the same."""
    store_responses(world)
    client = sdk(world)
    first = await ask(client, streams=False, input="Hi")
    again = [first.output[0].model_dump(mode="json", exclude_none=True)] * 2
    said = {"role": "user", "content": "Bye"}
    second = await ask(client, streams=False, input=[*again, said], previous_response_id=first.id)

    listed = []
    async for item in client.responses.input_items.list(second.id, limit=1, order="asc"):
        listed.append(item.id)
        assert len(listed) <= 5

    assert len(listed) == len(set(listed)) == 5
    assert listed[1] == first.output[0].id


async def test_a_deleted_response_is_gone_and_what_continues_it_cannot_go_on(world):
    store_responses(world)
    client = sdk(world)
    first = await ask(client, streams=False, input="Hi")
    second = await ask(client, streams=False, input="thanks", previous_response_id=first.id)

    await client.responses.delete(first.id)

    for gone in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(openai.NotFoundError):
            await gone(first.id)
    assert (await client.responses.retrieve(second.id)).output_text == "You are welcome."
    for previous in (first.id, second.id):
        with pytest.raises(openai.BadRequestError) as refused:
            await ask(client, streams=False, input="Bye", previous_response_id=previous)
        assert refused.value.code == "previous_response_not_found"
        assert refused.value.param == "previous_response_id"
        assert f"'{previous}' not found" in str(refused.value)


@BOTH
async def test_an_id_that_was_never_stored_is_refused_before_any_engine(world, streams):
    lanes = store_responses(world)

    with pytest.raises(openai.BadRequestError) as refused:
        await ask(sdk(world), streams=streams, input="Hi", previous_response_id="resp_none")

    assert refused.value.code == "previous_response_not_found"
    assert not lanes.opened and world.in_flight == 0 and world.reserved() == 0


@pytest.mark.security
@BOTH
async def test_no_tenant_sees_deletes_or_continues_another_s(world, streams):
    store_responses(world)
    response = await ask(sdk(world), streams=streams, input="My secret")
    # Of the same tier: it stores as well. Its key is an admin's.
    other = sdk(world, "root")
    client = sdk(world)

    assert (await client.responses.retrieve(response.id)).id == response.id
    for asked in (
        other.responses.retrieve(response.id),
        other.responses.delete(response.id),
        _listed(other, response.id),
    ):
        with pytest.raises(openai.NotFoundError) as refused:
            await asked
        assert "not found" in str(refused.value) and "secret" not in str(refused.value)
    with pytest.raises(openai.BadRequestError) as refused:
        await ask(other, streams=streams, input="Hi", previous_response_id=response.id)
    with pytest.raises(openai.BadRequestError) as unknown:
        await ask(other, streams=streams, input="Hi", previous_response_id="resp_none")
    assert str(refused.value).replace(response.id, "resp_none") == str(unknown.value)
    assert (await client.responses.retrieve(response.id)).id == response.id


async def _listed(client, response_id):
    return await client.responses.input_items.list(response_id)


@pytest.mark.parametrize("asked", [{}, {"store": None}, {"store": True}])
async def test_a_request_that_does_not_say_is_stored_as_in_openai_s_api(world, asked):
    store_responses(world)

    response = await world.post(RESPONSES, {"input": "Hi", **asked}, key="acme")

    assert response.json()["store"] is True
    assert world.responses_path.exists()


async def test_a_request_that_says_no_is_not_stored_and_may_continue_all_the_same(world):
    store_responses(world)
    client = sdk(world)

    first = await ask(client, streams=False, input="Hi")
    second = await ask(
        client, streams=False, input="thanks", previous_response_id=first.id, store=False
    )

    assert second.output_text == "You are welcome." and second.store is False
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(second.id)


# -- off ---------------------------------------------------------------------


# -- what else looks at a conversation ---------------------------------------
