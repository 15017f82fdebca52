"""Chats on a socket: the same pipeline, limits and errors as HTTP."""

import json

import pytest

from serve_app.routing.policies import build_policies
from tests.unit.serve_app.conftest import FakeScorer
from tests.unit.serve_app.socket_world import Client, SocketWorld, seqs_of, text_of, until


def bearer(world, tenant):
    return [(b"authorization", f"Bearer {world.keys[tenant]}".encode())]


async def test_a_chat_is_a_row_of_numbered_chunks_and_a_done(socket_world):
    """The engine's own chunks, numbered from 1; the first says where they come from."""
    client = await socket_world.connect()

    client.chat("a", tokens=5)
    frames = await client.until_end("a")

    assert seqs_of(frames) == list(range(1, len(frames) + 1))
    assert [frame["type"] for frame in frames] == ["chunk"] * (len(frames) - 1) + ["done"]
    assert all(frame["data"]["object"] == "chat.completion.chunk" for frame in frames[:-1])
    assert len(text_of(frames).split()) == 5
    assert frames[0]["resume"].startswith("i1.")
    assert frames[0]["headers"]["x-pointsman-lane"] == "chat"
    assert frames[0]["headers"]["x-session-id"].startswith("derived-")
    assert set(frames[1]) == {"id", "seq", "type", "data"}
    await client.leave()
    await socket_world.idle()


async def test_the_engine_s_usage_comes_only_when_asked_for(socket_world):
    """As over HTTP: accounting sees it either way."""
    client = await socket_world.connect()

    client.chat("a")
    client.chat("b", stream_options={"include_usage": True}, stream=False)
    plain, asked = await client.until_end("a"), None
    client.chat("c", stream_options={"include_usage": True})
    asked = await client.until_end("c")

    assert not any(frame["data"].get("usage") for frame in plain[:-1])
    assert asked[-2]["data"]["usage"]["completion_tokens"] == 5
    tokens = socket_world.ingresses[0].count(
        "pointsman_tokens_total", tenant="local", kind="completion"
    )
    assert tokens == 15


async def test_several_chats_share_a_socket(slow_world):
    """Each is whole and in order, and none waits for another's end."""
    client = await slow_world.connect()
    for number in range(8):
        client.chat(number, text=f"chat {number}", tokens=20)
    await until(lambda: slow_world.running == 8)

    frames, open_chats = [], set(range(8))
    while open_chats:
        frames.append(await client.frame())
        if frames[-1]["type"] == "done":
            open_chats.discard(frames[-1]["id"])

    for number in range(8):
        own = [frame for frame in frames if frame["id"] == number]
        assert seqs_of(own) == list(range(1, len(own) + 1))
        assert len(text_of(own).split()) == 20


async def test_a_cancelled_chat_is_aborted_and_settled(slow_world):
    """The engine is freed, the reservation given back, and the id can be used again."""
    client = await slow_world.connect(headers=bearer(slow_world, "acme"))
    client.chat("a", tokens=2000)
    client.chat("b", tokens=8)
    await until(lambda: slow_world.running == 2)
    await client.frame()

    client.say({"id": "a", "type": "cancel"})
    ended = {}
    while len(ended) < 2:
        frame = await client.frame()
        if frame["type"] == "done":
            ended[frame["id"]] = frame
    client.chat("a", tokens=3)
    again = await client.until_end("a")

    assert (ended["a"]["cancelled"], "cancelled" in ended["b"]) == (True, False)
    assert len(text_of(again).split()) == 3
    labels = {"lane": "chat", "reason": "default", "tier": "paid"}
    count = slow_world.ingresses[0].count
    assert count("pointsman_requests_total", **labels, code="499") == 1
    await client.leave()
    await slow_world.idle()


async def test_a_chat_that_waits_for_a_replica_can_be_cancelled(socket_world):
    """Before the choice: nothing was sent to an engine and nothing stays reserved."""
    ingress = socket_world.ingresses[0]
    ingress.lanes.gate.clear()
    client = await socket_world.connect(headers=bearer(socket_world, "acme"))
    client.chat("a", tokens=50)
    await until(lambda: ingress.state.reserved_tokens() > 0)

    client.say({"id": "a", "type": "cancel"})

    assert await client.frame() == {"id": "a", "seq": 1, "type": "done", "cancelled": True}
    await client.leave()
    await socket_world.idle()
    assert socket_world.engine_requests() == 0


BAD_FRAMES = {
    "no JSON": ("{oops", None, "invalid_json", None),
    "no object": ("[1]", None, "invalid_request", None),
    "no id": ({"type": "chat", "body": {}}, None, "invalid_request", "id"),
    "odd id": ({"id": [1], "type": "chat", "body": {}}, None, "invalid_request", "id"),
    "long id": ({"id": "x" * 129, "type": "cancel"}, None, "invalid_request", "id"),
    "no type": ({"id": "a"}, "a", "invalid_request", "type"),
    "odd type": ({"id": "a", "type": {"x": 1}}, "a", "invalid_request", "type"),
    "unknown type": ({"id": "a", "type": "shout"}, "a", "invalid_request", "type"),
    "no body": ({"id": "a", "type": "chat"}, "a", "invalid_request", "body"),
    "odd after": ({"id": "a", "type": "resume", "after": "1"}, "a", "invalid_request", "after"),
    "odd token": ({"id": "a", "type": "resume", "resume": 7}, "a", "invalid_request", "resume"),
    "odd session": (
        {"id": "a", "type": "chat", "body": {}, "session_id": "\n"},
        "a",
        "invalid_request",
        "session_id",
    ),
    "odd request id": (
        {"id": "a", "type": "chat", "body": {}, "request_id": "ü"},
        "a",
        "invalid_request",
        "request_id",
    ),
    "too long": (
        '{"id": 7, "type": "chat", "x": "' + "y" * 70_000 + '"}',
        7,
        "request_too_large",
        None,
    ),
    "too long, no id first": ('{"x": "' + "y" * 70_000 + '"}', None, "request_too_large", None),
    "no messages": ({"id": "a", "type": "chat", "body": {}}, "a", "invalid_request", "messages"),
    "model": (
        {
            "id": "a",
            "type": "chat",
            "body": {"model": "gpt-9", "messages": [{"role": "user", "content": "x"}]},
        },
        "a",
        "model_not_found",
        "model",
    ),
    "unknown cancel": ({"id": "z", "type": "cancel"}, "z", "invalid_request", "id"),
    "unknown resume": ({"id": "z", "type": "resume", "after": 1}, "z", "no_replica", None),
    "forged token": (
        {"id": "z", "type": "resume", "resume": "i9.x", "after": 1},
        "z",
        "no_replica",
        None,
    ),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
async def test_a_bad_frame_gets_its_error_and_harms_nothing_else(socket_world, case):
    """An error frame with the contract's code; a chat that runs beside it is whole."""
    frame, chat_id, code, param = BAD_FRAMES[case]
    client = await socket_world.connect()
    client.chat("good", tokens=30)

    client.say(frame)
    frames = [await client.frame()]
    while frames[-1]["type"] != "done":
        frames.append(await client.frame())

    (error,) = (frame for frame in frames if frame["type"] == "error")
    good = [frame for frame in frames if frame["id"] == "good"]
    assert (error["id"], error["error"]["code"], error["error"]["param"]) == (chat_id, code, param)
    assert set(error["error"]) == {"message", "type", "param", "code"}
    assert len(text_of(good).split()) == 30


async def test_an_id_is_one_chat_at_a_time(slow_world):
    """The second is refused, the first goes on."""
    client = await slow_world.connect()
    client.chat("a", tokens=5)
    client.chat("a", tokens=5)

    frames = [await client.frame()]
    while frames[-1]["type"] != "done":
        frames.append(await client.frame())

    errors = [frame for frame in frames if frame["type"] == "error"]
    assert [(e["id"], e["error"]["param"]) for e in errors] == [("a", "id")]
    assert len(text_of(frames).split()) == 5


async def test_chats_at_once_on_a_socket_are_bounded(socket_world):
    """One more is `tenant_concurrency`; there is room again when the client hears of an end."""
    client = await socket_world.connect()
    for number in range(16):
        client.chat(number, tokens=3)
    client.chat("more")

    frames = [await client.frame()]
    while frames[-1]["type"] != "done":
        frames.append(await client.frame())
    client.chat("now", tokens=3)
    now = await client.until_end("now")

    (error,) = (frame for frame in frames if frame["type"] == "error")
    assert (error["id"], error["error"]["code"]) == ("more", "tenant_concurrency")
    assert (error["status"], error["headers"]["retry-after"]) == (429, "1")
    assert now[-1]["type"] == "done"


async def test_a_refusal_tells_what_http_tells(socket_world):
    """Status, code and headers of the tenant's own limits."""
    client = await socket_world.connect(headers=bearer(socket_world, "guest"))
    for number in range(3):
        client.chat(number, tokens=1)
        frame = (await client.until_end(number))[-1]

    assert (frame["type"], frame["error"]["code"]) == ("error", "request_rate")
    assert (frame["status"], int(frame["headers"]["retry-after"]) > 0) == (429, True)
    assert frame["headers"]["x-ratelimit-limit-requests"] == "2"


async def test_a_chat_names_its_session_or_the_socket_does(socket_world):
    """The frame's own session id, then the upgrade request's header."""
    client = await socket_world.connect(headers=[(b"x-session-id", b"mine")])

    client.chat("a")
    client.chat("b", frame={"session_id": "other", "request_id": "r-7"})
    a = (await client.frames(1))[0]
    frames = {a["id"]: a}
    while len(frames) < 2:
        frame = await client.frame()
        frames.setdefault(frame["id"], frame)

    assert frames["a"]["headers"]["x-session-id"] == "mine"
    assert frames["b"]["headers"]["x-session-id"] == "other"
    assert frames["b"]["headers"]["x-request-id"] == "r-7"
    assert frames["a"]["headers"]["x-request-id"] != "r-7"


async def test_a_stream_that_breaks_ends_with_an_error_frame(socket_world):
    """What came before it stays; a retry is safe. Penalties rule out going on elsewhere."""
    client = await socket_world.connect()

    client.chat("a", text="[break]", tokens=9, presence_penalty=0.5)
    frames = await client.until_end("a")

    assert frames[-1]["error"]["code"] == "no_replica"
    assert len(text_of(frames).split()) == 3


# -- who may have a socket ------------------------------------------------------------------


async def asked(world, **scope) -> Client:
    client = Client(world.ingresses[0].gateway, **scope)
    world.clients.append(client)
    await client.ask()
    return client


@pytest.mark.security
@pytest.mark.parametrize("key", ["", "pm-000000000000-wrong"])
async def test_a_socket_needs_a_key(socket_world, key):
    """The upgrade is refused with 401 and an error body, in which no key is named."""
    headers = [(b"authorization", f"Bearer {key}".encode())] if key else []

    client = await asked(socket_world, client=("10.0.0.1", 1), headers=headers)
    body = await client.message()

    assert client.accepted["status"] == 401
    assert json.loads(body["body"])["error"]["code"] == "invalid_api_key"
    assert b"wrong" not in body["body"]
    await socket_world.idle()


@pytest.mark.security
async def test_a_proxy_s_key_acts_for_the_tenant_it_names(socket_world):
    """As over HTTP: its limits hold and its usage counts; any other key is not asked."""
    named = (b"x-tenant-id", b"guest")
    acting = await socket_world.connect(headers=[*bearer(socket_world, "proxy"), named])
    plain = await socket_world.connect(headers=[*bearer(socket_world, "acme"), named])

    acting.chat("a")
    plain.chat("b", tokens=3)
    await acting.until_end("a")
    await plain.until_end("b")

    count = socket_world.ingresses[0].count
    tokens = {
        name: count("pointsman_tokens_total", tenant=name, kind="completion")
        for name in ("guest", "acme", "proxy")
    }
    assert tokens == {"guest": 5, "acme": 3, "proxy": 0}


@pytest.mark.security
async def test_a_web_page_of_another_site_is_not_the_local_user(socket_world):
    """Browsers let any page open a socket to this machine; Origin tells whose it is."""
    client = await asked(socket_world, headers=[(b"origin", b"https://evil.example")])

    assert client.accepted["status"] == 401


@pytest.mark.security
@pytest.mark.parametrize(
    ("offered", "echoed"),
    [(["pointsman.v1", "KEY"], "pointsman.v1"), (["KEY", "pointsman.v1"], "pointsman.v1"),
     (["KEY"], None), (["KEY", "chat"], None)],
)  # fmt: skip
async def test_a_key_may_come_as_a_subprotocol_and_is_never_echoed(socket_world, offered, echoed):
    """What is accepted is `pointsman.v1`, if it was offered."""
    key = socket_world.keys["acme"]
    offered = [x.replace("KEY", f"pointsman.key.{key}") for x in offered]

    client = await socket_world.connect(client=("10.0.0.1", 1), subprotocols=offered)
    client.chat("a")
    frames = await client.until_end("a")

    assert client.accepted["subprotocol"] == echoed
    assert key not in str(client.accepted)
    assert frames[-1]["type"] == "done"


@pytest.mark.security
async def test_a_key_that_is_revoked_opens_no_more_chats(socket_world):
    """An open socket is no licence: each frame asks again."""
    client = await socket_world.connect(
        client=("10.0.0.1", 1), headers=bearer(socket_world, "acme")
    )
    client.chat("a")
    await client.until_end("a")
    del socket_world.tenants.tenants["acme"]
    state = socket_world.ingresses[0].state
    state.apply(build_policies(socket_world.fleet, socket_world.tenants, FakeScorer(), lambda _: 0))

    client.chat("b")

    assert (await client.frame())["error"]["code"] == "invalid_api_key"


async def test_another_path_is_not_a_socket(socket_world):
    """404, as over HTTP; without the extension it is a plain refusal."""
    client = await asked(socket_world, path="/v1/chat")
    plain = await asked(socket_world, path="/v1/chat", extensions={})

    assert (client.accepted["status"], plain.accepted["type"]) == (404, "websocket.close")


@pytest.mark.security
async def test_sockets_are_bounded_in_all_and_for_each_tenant():
    """429 for a tenant that has its share, 503 when none is left."""
    bounds = {"max_sockets": 3, "max_sockets_per_tenant": 2}
    async with SocketWorld(websocket=bounds) as world:
        acme, other = bearer(world, "acme"), bearer(world, "other")
        for headers in (acme, acme):
            await world.connect(headers=headers)
        own = await asked(world, headers=acme)
        last = await world.connect(headers=other)
        full = await asked(world, headers=other)
        await last.leave()
        again = await asked(world, headers=other)

    assert [x.accepted.get("status") for x in (own, full, again)] == [429, 503, None]
