"""What the clients of OpenAI and Anthropic read of an answer's head and of models."""

from __future__ import annotations

import anthropic
import httpx
import httpx2
import openai
import pytest
from ray.serve._private.http_util import _apply_middlewares

from serve_app.front.doorway import middlewares
from tests.unit.serve_app.front.test_gateway import CHAT, HELLO, REMOTE, error_of
from tests.unit.serve_app.front.test_http_semantics import request

MESSAGES = {**HELLO, "max_tokens": 5}


async def test_headers_that_serve_cannot_decode_do_not_fail(world, call_raw):
    """It reads some as UTF-8; a client that sends Latin-1 would get a bare 500."""
    seen = []

    async def app(scope, receive, send):
        seen.extend(scope["headers"])

    door = _apply_middlewares(app, middlewares())
    await call_raw(door, [], path="/", headers=[(b"x-session-id", b"\xe9t\xe9")])

    assert (b"x-session-id", "\u00e9t\u00e9".encode()) in seen
    assert all(value.decode() for _, value in seen)


@pytest.mark.parametrize(
    "lines",
    [
        [("x-session-id", "")],
        [("x-session-id", "  ")],
        [("x_session_id", "")],
        [("x-session-id", ""), ("x_session_id", " "), ("x-claude-code-session-id", "")],
    ],
)
async def test_a_blank_session_id_is_as_if_absent(world, engine, lines):
    """Derived from the conversation, as without the header."""
    world.lanes.answers = [engine()]

    response = await request(world, "POST", CHAT, json=HELLO, headers=lines)

    assert response.status_code == 200
    assert response.headers["x-session-id"].startswith("derived-")


@pytest.mark.parametrize(
    "lines",
    [
        [("x-session-id", ""), ("x_session_id", "good")],
        [("x-session-id", " "), ("x-claude-code-session-id", "good")],
        [("x-session-id", "good"), ("x-session-id", "")],
        [("x-session-id", ""), ("x-session-id", "good")],
    ],
)
async def test_a_blank_session_id_does_not_hide_a_good_one(world, engine, lines):
    """In another header, or in another line of the same."""
    world.lanes.answers = [engine()]

    response = await request(world, "POST", CHAT, json=HELLO, headers=lines)

    assert response.headers["x-session-id"] == "good"


async def test_answers_in_anthropic_s_form_carry_its_request_id(world, engine):
    """`request-id` is what its SDK reads, on answers and errors; errors say it in the body."""
    world.lanes.answers = [engine()]
    headers = {"x-request-id": "mine"}

    good = await request(world, "POST", "/v1/messages", json=MESSAGES, headers=headers)
    bad = await request(world, "POST", "/v1/messages", json={}, headers=headers)
    async with world.client(REMOTE) as client:
        unknown = await client.post("/v1/messages", json=MESSAGES, headers=headers)
    plain = await request(world, "POST", CHAT, json={}, headers=headers)

    assert [x.headers.get("request-id") for x in (good, bad, unknown)] == ["mine"] * 3
    assert bad.json()["request_id"] == unknown.json()["request_id"] == "mine"
    assert "request-id" not in plain.headers
    assert "request_id" not in plain.json()


async def test_a_stream_in_anthropic_s_form_carries_its_request_id(world, stream):
    """Its head, and the event that ends it when it breaks."""
    event = b'event: message_start\ndata: {"type": "message_start", "message": {}}\n\n'
    world.lanes.answers = [stream(event, ConnectionResetError())]
    headers = {"x-request-id": "mine"}

    body = {**MESSAGES, "stream": True}
    response = await request(world, "POST", "/v1/messages", json=body, headers=headers)

    assert response.headers["request-id"] == "mine"
    assert '"request_id":"mine"' in response.text or "event: error" not in response.text


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/v1/messages/batches", "/v1/messages/batches/1", "/v1/messages/x/y"]
)
async def test_an_unknown_route_below_messages_answers_as_anthropic_does(world, method, path):
    """404 with its error type, not OpenAI's form."""
    response = await request(world, method, path)

    assert response.status_code == 404
    assert response.json()["type"] == "error"
    assert error_of(response)["type"] == "not_found_error"
    assert response.headers["request-id"] == response.json()["request_id"]


async def test_anthropic_s_clients_read_of_any_unknown_route(world):
    """Its SDK calls routes that are not below `/v1/messages`, too; OpenAI's get their form."""
    anthropics = {"anthropic-version": "2023-06-01"}

    theirs = await request(world, "GET", "/v1/files?beta=true", headers=anthropics)
    other = await request(world, "GET", "/v1/files")
    chat = await request(world, "POST", CHAT, json={}, headers=anthropics)

    assert (theirs.json()["type"], error_of(theirs)["type"]) == ("error", "not_found_error")
    assert "type" not in other.json()
    assert "type" not in chat.json()


async def test_the_anthropic_sdk_reads_ids_errors_and_models(world, engine):
    """The stock client, only its base URL and transport changed."""
    world.lanes.answers = [engine({"id": "m", "type": "message", "content": []})]
    transport = httpx2.ASGITransport(world.gateway, client=("127.0.0.1", 1))
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        anthropic.AsyncAnthropic(
            base_url="http://localhost", api_key="none", http_client=http, max_retries=0
        ) as client,
    ):
        message = await client.messages.create(
            model="auto", max_tokens=5, messages=HELLO["messages"]
        )
        with pytest.raises(anthropic.NotFoundError) as missing:
            await client.messages.batches.list()
        models = [model async for model in await client.models.list(limit=2)]
        model = await client.models.retrieve("auto")
        with pytest.raises(anthropic.NotFoundError):
            await client.models.retrieve("nothing")

    assert message._request_id
    assert missing.value.request_id == missing.value.body["request_id"]
    assert [x.id for x in models] == ["auto", "chat", "quality", "small", "large"]
    assert (model.display_name, model.lifecycle, model.created_at.year) == ("auto", "active", 1970)


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("", ["auto", "chat", "quality", "small", "large"], False),
        ("?limit=2", ["auto", "chat"], True),
        ("?after_id=quality", ["small", "large"], False),
        ("?after_id=auto&limit=1", ["chat"], True),
        ("?before_id=quality&limit=1", ["chat"], True),
        ("?limit=0&after_id=nothing", ["auto", "chat", "quality", "small", "large"], False),
        (f"?limit={'9' * 5000}", ["auto", "chat", "quality", "small", "large"], False),
    ],
)
async def test_anthropic_s_list_of_models_has_pages(world, query, ids, more):
    """`limit`, `after_id` and `before_id` as its API has them."""
    headers = {"anthropic-version": "2023-06-01"}

    page = (await request(world, "GET", f"/v1/models{query}", headers=headers)).json()

    assert [x["id"] for x in page["data"]] == ids
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[-1], more)


@pytest.mark.security
async def test_a_model_card_has_all_that_vllm_s_has(world):
    """The fields of the pinned vLLM's ModelCard and ModelPermission, and no path of ours."""
    cards = {x["id"]: x for x in (await request(world, "GET", "/v1/models")).json()["data"]}

    for card in cards.values():
        assert {"id", "object", "created", "owned_by", "root", "parent", "permission"} <= {*card}
        [permission] = card["permission"]
        assert permission["object"] == "model_permission"
        assert (permission["allow_sampling"], permission["is_blocking"]) == (True, False)
        assert len(permission) == 12
    assert {cards[x]["root"] for x in ("chat", "small")} == {"small"}
    assert cards["small"]["max_model_len"] == 4096
    assert (cards["auto"]["root"], cards["auto"]["parent"]) == ("auto", None)


async def test_the_openai_sdk_lists_models(world):
    """The stock client reads the list, and one model."""
    transport = httpx.ASGITransport(world.gateway, client=("127.0.0.1", 1))
    async with (
        httpx.AsyncClient(transport=transport) as http,
        openai.AsyncOpenAI(
            base_url="http://localhost/v1", api_key="none", http_client=http
        ) as client,
    ):
        models = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("small")

    assert "auto" in models
    assert one.model_extra["root"] == "small"
