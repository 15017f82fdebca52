"""Who opens a socket, how many, and what a refusal tells."""

import json

import pytest

from serve_app.routing.policies import build_policies
from tests.unit.serve_app.conftest import FakeScorer
from tests.unit.serve_app.socket_world import SocketWorld, text_of
from tests.unit.serve_app.websocket.test_websocket import asked, bearer


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
