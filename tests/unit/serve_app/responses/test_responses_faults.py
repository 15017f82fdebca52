"""What clients see when responses cannot be stored or read; answers never fail for it."""

import asyncio
import json

import openai
import pytest

from serve_app.bodies.steps import at_once
from serve_app.metrics import Metrics
from serve_app.responses.desk import StoredResponses
from serve_app.responses.listing import listing
from serve_app.responses.metrics import ResponseMetrics
from serve_app.responses.rows import Exchange
from tests.unit.serve_app.responses.storing import (
    RESPONSES,
    another_ingress,
    ask,
    locked,
    sdk,
    store_responses,
)
from tests.unit.serve_app.uploads import with_limits

HEADER = "x-pointsman-not-stored"


def stored(world, **settings) -> StoredResponses:
    """The world's, with other settings."""
    world.metrics = Metrics()
    metrics = ResponseMetrics(world.metrics.registry)
    world.responses.close()
    world.responses = StoredResponses(world.responses_path, metrics, **settings)
    return world.responses


def counted(world) -> dict[str, float]:
    families = {x.name: x for x in world.metrics.registry.collect()}
    samples = families["pointsman_responses_stored"].samples
    return {x.labels["outcome"]: x.value for x in samples if x.name.endswith("_total")}


async def until_stored(world, count) -> None:
    while counted(world) != {"stored": count}:  # noqa: ASYNC110 - a thread's work
        await asyncio.sleep(0.01)


@pytest.fixture
def broken(world):
    """The folder of the file is a file."""
    world.responses_path = world.folder / "none" / "responses"
    world.responses_path.parent.write_text("")
    stored(world)
    return world


@pytest.mark.parametrize("streams", [False, True])
async def test_an_answer_that_cannot_be_stored_says_so_and_is_whole(broken, streams):
    store_responses(broken)

    answer = await broken.post(RESPONSES, {"input": "Hi", "stream": streams}, key="acme")

    assert answer.status_code == 200 and counted(broken) == {"failed": 1}
    if not streams:
        assert answer.headers[HEADER] == "failed"
        assert answer.json()["store"] is False and answer.json()["output"]
        assert int(answer.headers["content-length"]) == len(answer.content)
        return
    *_, comment, last = answer.content.strip().split(b"\n\n")
    assert comment == b": x-pointsman-not-stored: failed"
    kind, data = last.split(b"\n")
    assert kind == b"event: response.completed"
    assert json.loads(data[6:])["response"]["store"] is False


async def test_a_store_that_cannot_be_read_is_no_fault_of_the_request(broken):
    store_responses(broken)

    refused = await broken.post(
        RESPONSES, {"input": "Hi", "previous_response_id": "resp_1"}, key="acme"
    )
    async with broken.client(key="acme") as client:
        read = await client.get(f"{RESPONSES}/resp_1")

    for answer in (refused, read):
        assert answer.status_code == 503 and "retry-after" in answer.headers
        assert answer.json()["error"]["code"] == "response_store_unavailable"
    assert "without 'previous_response_id'" in refused.json()["error"]["message"]
    # Who reads sends no input.
    assert "input" not in read.json()["error"]["message"]
    assert read.json()["error"]["param"] is None


@pytest.mark.parametrize("streams", [False, True])
async def test_an_answer_waits_for_a_busy_file_no_longer_than_it_may(world, streams):
    stored(world, within_s=0.05)
    store_responses(world)
    first = await ask(sdk(world), streams=False, input="Hi")

    with locked(world.responses_path):
        body = {"input": "Hi", "stream": streams}
        answer = await world.post(RESPONSES, body, key="acme")
        # What was stored can be read meanwhile.
        assert (await sdk(world).responses.retrieve(first.id)).id == first.id

    assert b"late" in (answer.content if streams else answer.headers[HEADER].encode())
    await until_stored(world, 2)


async def test_what_waits_for_the_file_is_bounded(world):
    stored(world, within_s=0.05, max_waiting_bytes=4000)
    store_responses(world)
    await ask(sdk(world), streams=False, input="Hi")

    with locked(world.responses_path):
        body = {"input": "x" * 2000}
        answers = [await world.post(RESPONSES, body, key="acme") for _ in range(4)]

    assert [x.headers[HEADER] for x in answers] == ["late", "failed", "failed", "failed"]


async def test_a_conversation_without_room_is_answered_and_says_so(world):
    store_responses(world, max_responses=2)
    client = sdk(world)
    first = await ask(client, streams=False, input="Hi")
    second = await ask(client, streams=False, input="Hi", previous_response_id=first.id)

    third = await world.post(
        RESPONSES, {"input": "Hi", "previous_response_id": second.id}, key="acme"
    )

    assert third.status_code == 200 and third.headers[HEADER] == "no_room"
    assert (await client.responses.retrieve(second.id)).id == second.id


async def test_a_conversation_over_the_longest_body_is_refused_before_it_is_read(world):
    lanes = store_responses(world)
    with_limits(world, max_body_bytes=2000)
    client = sdk(world)
    first = await ask(client, streams=False, input="x" * 1200)
    asked = len(lanes.opened)

    with pytest.raises(openai.APIStatusError) as refused:
        await ask(client, streams=False, input="x" * 1200, previous_response_id=first.id)

    assert (refused.value.status_code, refused.value.code) == (413, "request_too_large")
    assert len(lanes.opened) == asked


async def test_another_ingress_replica_finds_it_at_once(world):
    lanes = store_responses(world)
    mine = world.responses
    previous = None
    for _ in range(4):
        response = await ask(sdk(world), streams=True, input="Hi", previous_response_id=previous)
        previous = response.id
        others, mine = mine, another_ingress(world, lanes)
        others.close()

    assert len(lanes.inputs[-1]) == 7


async def test_an_engine_s_refusal_and_a_broken_stream_are_not_stored(world, stream, engine):
    store_responses(world)
    world.use(world.lanes)
    head = b'{"type":"response.created","response":{"id":"r"}}'
    created = b"event: response.created\ndata: " + head + b"\n\n"
    fault = b'event: error\ndata: {"type":"error","error":{"message":"x","code":500}}\n\n'
    delta = b'event: x\ndata: {"type":"response.output_text.delta","delta":"a"}\n\n'
    world.lanes.answers = [engine({"error": {"message": "no"}}, 400), stream(created, delta, fault)]

    refused = await world.post(RESPONSES, {"input": "Hi"}, key="acme")
    broken = await world.post(RESPONSES, {"input": "Hi", "stream": True}, key="acme")

    assert refused.status_code == 400 and b"event: error" in broken.content
    assert not world.responses_path.exists()


async def test_an_answer_that_is_no_response_passes_as_it_is(world, engine):
    store_responses(world)
    world.use(world.lanes)
    world.lanes.answers = [engine({"status": "completed", "output": 1}), engine({"a": 1})]

    odd = await world.post(RESPONSES, {"input": "Hi"}, key="acme")
    other = await world.post(RESPONSES, {"input": "Hi"}, key="acme")

    assert odd.headers[HEADER] == "failed" and odd.json()["output"] == 1
    assert other.json()["a"] == 1 and HEADER not in other.headers
    assert counted(world) == {"failed": 1}


@pytest.mark.parametrize("name", ["a/input_items", "..", "a\n", "a" * 300, ""])
async def test_what_no_path_can_name_is_not_stored(world, engine, name):
    """A body's own `request_id` is its response's id, which its client could not delete."""
    store_responses(world)
    world.use(world.lanes)
    world.lanes.answers = [engine({"id": name, "status": "completed", "output": []})]

    answer = await world.post(RESPONSES, {"input": "Hi", "request_id": name}, key="acme")

    assert answer.headers[HEADER] == "failed" and answer.json()["store"] is False
    assert not world.responses_path.exists()


def test_a_long_conversation_is_listed_in_pieces():
    """Streams go on between them."""
    exchange = Exchange(b'[{"role": "user", "content": "Hi"}]', b"[]")

    steps = listing([exchange] * 50, "resp_1")

    assert sum(1 for _ in steps) >= 50
    assert len(at_once(listing([exchange] * 50, "resp_1"))) == 50


async def test_a_client_that_leaves_while_its_answer_is_written_finds_it_later(world, call_raw):
    stored(world, within_s=5)
    store_responses(world)
    await ask(sdk(world), streams=False, input="Hi")
    body = json.dumps({"input": "Hi"}).encode()
    messages = [{"type": "http.request", "body": body}]
    headers = [
        (b"host", b"localhost"),
        (b"authorization", f"Bearer {world.keys['acme']}".encode()),
        (b"content-length", str(len(body)).encode()),
    ]

    with locked(world.responses_path):
        asked = asyncio.create_task(
            call_raw(world.gateway, messages, path=RESPONSES, headers=headers, query_string=b"")
        )
        await asyncio.sleep(0.2)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

    await until_stored(world, 2)
    assert world.in_flight == 0


async def test_tending_tells_what_there_is_and_deletes_what_has_to_go(world):
    store_responses(world)
    client = sdk(world)
    for _ in range(3):
        await ask(client, streams=False, input="Hi")
    bounds = world.state.policies.auth.tenant("acme").responses

    await world.responses.tend({"acme": bounds}.get)

    count = world.count("pointsman_stored_responses")
    assert count == world.responses.status()["responses"] == 3
    assert world.count("pointsman_stored_response_bytes") > 100
    fewer = bounds.model_copy(update={"max_responses": 1})
    await world.responses.tend({"acme": fewer}.get)
    assert world.count("pointsman_stored_responses") == 1
    assert world.count("pointsman_responses_deleted_total", cause="evicted") == 2


async def test_a_tenant_reads_in_its_status_what_it_has_stored(world):
    store_responses(world)
    await ask(sdk(world), streams=False, input="Hi")
    await world.responses.tend(lambda _: None)

    async with world.client(key="acme") as client:
        status = (await client.get("/status")).json()

    assert status["stored_responses"]["responses"] == 1
    assert status["stored_responses"]["max_responses"] == 100


async def test_a_store_without_a_file_is_tended_without_making_one(world):
    await world.responses.tend(lambda _: None)

    assert not world.responses_path.exists()
    assert world.responses.status() == {"responses": 0, "bytes": 0, "tenants": 0}
