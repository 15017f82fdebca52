"""Which responses are stored, and what is refused of them."""

import contextlib
import json
import sqlite3

import openai
import pytest

from serve_app.bodies.parsed_request import ParsedRequest, parse
from serve_app.bodies.routes import ROUTES
from tests.unit.serve_app.agents.answers import Answer
from tests.unit.serve_app.relay import test_tool_repair as repairs
from tests.unit.serve_app.responses.storing import RESPONSES, TOOL, ask, sdk, store_responses
from tests.unit.serve_app.responses.test_stored_responses import BOTH


async def test_a_fleet_may_store_only_what_asks_for_it(world):
    store_responses(world, store_by_default=False)

    silent = await world.post(RESPONSES, {"input": "Hi"}, key="acme")
    asking = await world.post(RESPONSES, {"input": "Hi", "store": True}, key="acme")

    assert "store" not in silent.json() and asking.json()["store"] is True
    assert world.responses.status()["responses"] == 0
    await world.responses.tend(lambda _: None)
    assert world.responses.status()["responses"] == 1


async def test_an_answer_that_ends_at_its_limit_is_stored_and_goes_on(world):
    store_responses(world)
    client = sdk(world)

    first = await ask(client, streams=True, input="Hi", max_output_tokens=1)
    second = await ask(client, streams=True, input="thanks", previous_response_id=first.id)

    assert (first.status, second.status) == ("incomplete", "completed")


async def test_half_a_call_of_an_answer_that_was_cut_is_not_gone_on_with(world):
    """No engine could read its arguments again."""
    lanes = store_responses(world)
    client = sdk(world)
    for limit in range(1, 24):
        first = await ask(
            client, streams=True, input="read it", tools=[TOOL], max_output_tokens=limit
        )
        await ask(client, streams=True, input="thanks", previous_response_id=first.id)
        for item in lanes.inputs[-1]:
            if item.get("type") == "function_call":
                assert item["arguments"].endswith("}")


async def test_cancelling_says_what_to_do_instead(world):
    store_responses(world)
    client = sdk(world)
    first = await ask(client, streams=False, input="Hi")

    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.cancel(first.id)

    assert "background" in str(refused.value)


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("", "stream=true", "stream"),
        ("/input_items", "limit=0", "limit"),
        ("/input_items", "limit=101", "limit"),
        ("/input_items", "limit=1e2", "limit"),
        ("/input_items", "limit=00019999", "limit"),
        ("/input_items", "limit=" + "9" * 5_000, "limit"),
        ("/input_items", "order=up", "order"),
    ],
)
async def test_what_cannot_be_asked_of_a_stored_response_is_refused(world, path, query, param):
    store_responses(world)
    async with world.client(key="acme") as client:
        refused = await client.get(f"{RESPONSES}/resp_1{path}?{query}")

    assert refused.status_code == 400 and refused.json()["error"]["param"] == param


async def test_an_item_that_is_not_there_begins_no_page(world):
    store_responses(world)
    client = sdk(world)
    first = await ask(client, streams=False, input="Hi")

    with pytest.raises(openai.NotFoundError):
        await client.responses.input_items.list(first.id, after="item_none")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/v1/responses/resp_1", "GET, HEAD, DELETE, OPTIONS"),
        ("DELETE", "/v1/responses/resp_1/input_items", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/responses/resp_1/cancel", "POST, OPTIONS"),
    ],
)
async def test_other_methods_are_told_which_there_are(world, method, path, allow):
    async with world.client(key="acme") as client:
        answer = await client.request(method, path)

    assert answer.status_code == 405 and answer.headers["allow"] == allow


@pytest.mark.parametrize("path", ["/v1/responses/resp_1/other", "/v1/responses/resp_1/cancel/x"])
async def test_nothing_else_is_below_a_response(world, path):
    async with world.client(key="acme") as client:
        assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("asked", [{}, {"store": None}, {"store": False}])
@BOTH
async def test_while_nothing_is_stored_stock_requests_are_served(world, asked, streams, engine):
    """Codex says `store: false`; most SDKs say nothing."""
    store_responses(world)
    from tests.unit.serve_app.conftest import with_tier

    with_tier(world)

    body = {"input": "Hi", "stream": streams, **asked}
    answer = await world.post(RESPONSES, body, key="acme")

    assert answer.status_code == 200
    assert not world.responses_path.exists()


@pytest.mark.parametrize("asked", [{"store": True}, {"previous_response_id": "resp_1"}])
async def test_while_nothing_is_stored_asking_for_it_is_refused(world, asked):
    answer = await world.post(RESPONSES, {"input": "Hi", **asked}, key="acme")

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, next(iter(asked)))
    assert "no responses are stored here" in error["message"]
    assert not world.lanes.opened


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")],
)
async def test_while_nothing_is_stored_there_is_nothing_to_read(world, method, path):
    async with world.client(key="acme") as client:
        answer = await client.request(method, f"{RESPONSES}/resp_1{path}")

    assert answer.status_code == 404
    assert "No responses are stored here" in answer.json()["error"]["message"]
    assert not world.responses_path.exists()


async def test_other_routes_know_no_stored_responses(world):
    store_responses(world)

    for path, field in (("/v1/chat/completions", "messages"), ("/v1/messages", "messages")):
        body = {field: [{"role": "user", "content": "Hi"}], "previous_response_id": "resp_1"}
        answer = await world.post(path, {**body, "max_tokens": 5}, key="acme")
        assert answer.status_code == 400


def test_a_body_that_nobody_prepared_names_no_stored_response():
    """What has not passed the store is refused by the table of fields."""
    raw = b'{"input": "Hi", "store": false}'

    assert isinstance(parse(raw, ROUTES[RESPONSES]), ParsedRequest)


async def test_the_bounds_of_a_task_count_what_is_stored(world):
    """A client that sends only its newest result is as deep as one that sends all."""
    agents = {"turn_depth": 1, "task_depth": None, "on_depth": "refuse"}
    store_responses(world, tier={"agents": agents})
    client = sdk(world)
    first = await ask(client, streams=False, input="read it", tools=[TOOL])
    call = next(x for x in first.output if x.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "A"}
    second = await ask(
        client, streams=False, input=[result], tools=[TOOL], previous_response_id=first.id
    )
    # The script calls once; go on as if the model had called again.
    made = {"type": "function_call", "call_id": "2", "name": "read", "arguments": "{}"}
    again = [made, {**result, "call_id": "2"}]

    with pytest.raises(openai.BadRequestError) as refused:
        await ask(client, streams=False, input=again, tools=[TOOL], previous_response_id=second.id)

    assert refused.value.code == "tool_depth_exceeded"


@BOTH
async def test_tools_that_nothing_here_runs_are_named_on_every_turn(world, streams):
    store_responses(world)
    asked = {"input": "Hi", "tools": [TOOL, {"type": "web_search"}], "stream": streams}
    first = await ask(sdk(world), streams=False, input="Hi")

    answers = [
        await world.post(RESPONSES, {**asked, "previous_response_id": previous}, key="acme")
        for previous in (None, first.id)
    ]

    dropped = [x.headers["x-pointsman-tools-dropped"] for x in answers]
    assert dropped == ["web_search", "web_search"]


async def test_a_conversation_is_one_session(world):
    store_responses(world)
    client = sdk(world)
    first = await client.responses.with_raw_response.create(model="chat", input="Hi")
    previous = first.parse().id
    second = await client.responses.with_raw_response.create(
        model="chat", input="thanks", previous_response_id=previous
    )

    assert first.headers["x-session-id"] == second.headers["x-session-id"]


async def test_old_turns_of_a_stored_conversation_are_left_out_and_stay_stored(world):
    lanes = store_responses(world, tier={"history": {"high_tokens": 64, "low_tokens": 30}})
    client = sdk(world)
    previous = None
    for _ in range(6):
        response = await ask(
            client, streams=False, input="Say hello to me. " * 8, previous_response_id=previous
        )
        previous = response.id

    listed = [x async for x in client.responses.input_items.list(previous)]
    assert len(lanes.inputs[-1]) < 11 == len(listed)


@pytest.mark.parametrize("streams", [False, True])
async def test_a_call_that_was_made_again_is_what_is_stored(world, streams):
    lanes = store_responses(world, tier={"agents": {"turn_depth": None, "task_depth": None}})
    world.use(world.lanes)
    wrong, right = ("add", ['{"a": "x"}']), ("add", ['{"a": 7}'])
    first = repairs.streamed if streams else repairs.answered
    world.lanes.answers = [
        first(RESPONSES, Answer(["Well."], [wrong])),
        repairs.answered(RESPONSES, Answer([], [right])),
    ]

    answer = await world.post(RESPONSES, repairs.body(RESPONSES, streams=streams), key="acme")

    assert answer.status_code == 200 and lanes is not None
    await world.responses.tend(lambda _: None)
    assert world.responses.status()["responses"] == 1
    kept = stored_answer(world)
    calls = [x for x in kept["output"] if x["type"] == "function_call"]
    assert [x["arguments"] for x in calls] == ['{"a": 7}']
    assert kept["id"].encode() in answer.content


def stored_answer(world):
    with contextlib.closing(sqlite3.connect(world.responses_path)) as db:
        head, output = db.execute("SELECT head, output FROM contents").fetchone()
    return {**json.loads(head), "output": json.loads(output)}
