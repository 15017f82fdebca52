"""Chats on a socket: the same pipeline, limits and errors as HTTP."""

import pytest

from tests.unit.serve_app.socket_world import Client, seqs_of, text_of, until


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


# -- who may have a socket ------------------------------------------------------------------


async def asked(world, **scope) -> Client:
    client = Client(world.ingresses[0].gateway, **scope)
    world.clients.append(client)
    await client.ask()
    return client
