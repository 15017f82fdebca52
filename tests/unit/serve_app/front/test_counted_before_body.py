"""A request of the minute is counted at its header: before its body, and whatever that holds."""

import json
import time

import pytest

from serve_app.bodies import big_bodies
from serve_app.websocket import frames
from tests.unit.serve_app.conftest import with_ceilings
from tests.unit.serve_app.socket_world import until
from tests.unit.serve_app.uploads import CHAT, HI, READING, Upload, arriving, leave

pytestmark = pytest.mark.security


def left(world, tenant="acme") -> int:
    """Requests left of a tenant's minute."""
    ceiling = world.state.ceiling(world.state.policies.auth.tenant(tenant))
    return ceiling.requests_state(now=time.monotonic()).remaining


@pytest.mark.parametrize("path", [*READING, "/v1/completions", "/v1/responses"])
async def test_over_the_rate_nothing_of_a_body_is_read(patient, path):
    """Two a minute, of which the bodies have not come; the third is refused without its own."""
    held = [Upload(patient, path, key="guest") for _ in range(2)]
    await arriving(patient, 2)

    third = Upload(patient, path, key="guest", **{"x-session-id": "mine"})
    status, headers, body = await third.answer()

    assert (status, body["error"]["code"]) == (429, "request_rate")
    assert 1 <= int(headers["retry-after"]) <= 60
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    if path not in ("/v1/route", "/v1/feedback"):
        assert headers["x-session-id"] == "mine"
        assert patient.count("pointsman_shed_total", tier="free", code="request_rate") == 1
    await leave(*held, third)
    assert patient.in_flight == 0 and patient.reserved() == 0


@pytest.mark.parametrize("raw", [b"{", b"[]", b"", b'{"messages": 5}', b"\xff", b"x" * 70_000])
@pytest.mark.parametrize("path", [CHAT, "/v1/route"])
async def test_a_bad_body_is_one_of_the_minute(world, path, raw):
    """And costs no tokens."""
    with_ceilings(world, requests_per_minute=60, tokens_per_minute=1_000)
    async with world.client(key="acme") as client:
        answers = [await client.post(path, content=raw) for _ in range(5)]

    assert all(answer.status_code in (400, 413) for answer in answers)
    assert left(world) in (55, 56)
    assert world.reserved() == 0


async def test_a_good_one_is_counted_once(world, engine):
    with_ceilings(world, requests_per_minute=60)
    world.lanes.answers = [engine() for _ in range(6)]
    answers = [await world.post(CHAT, HI, key="acme") for _ in range(6)]

    assert [x.status_code for x in answers] == [200] * 6
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "59"
    assert left(world) in (54, 55)


async def test_what_other_ceilings_refuse_afterwards_was_read_and_counts(world):
    with_ceilings(world, requests_per_minute=60, tokens_per_minute=100)
    ceiling = world.state.ceiling(world.state.policies.auth.tenant("acme"))
    held = ceiling.try_admit(100, now=time.monotonic())

    answers = [await world.post(CHAT, HI, key="acme") for _ in range(2)]

    assert [x.json()["error"]["code"] for x in answers] == ["token_rate"] * 2
    assert left(world) == 58
    ceiling.settle(held, 0, now=time.monotonic())


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/auto", "/v1/models/none"])
async def test_lists_of_models_count_however_they_are_asked(world, method, path):
    async with world.client(key="guest") as client:
        codes = [(await client.request(method, path)).status_code for _ in range(3)]

    assert codes[:2] != [429, 429] and codes[2] == 429


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("OPTIONS", CHAT, 204),
        ("OPTIONS", "/v1/models", 204),
        ("GET", CHAT, 405),
        ("HEAD", "/v1/route", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/nothing", 404),
    ],
)
async def test_what_is_no_request_of_a_route_counts_for_nobody(world, method, path, status):
    """It costs nothing: no key is looked at, and no body."""
    async with world.client(key="guest") as client:
        codes = [(await client.request(method, path)).status_code for _ in range(5)]

    assert codes == [status] * 5
    assert left(world, "guest") == 2


# -- sockets ------------------------------------------------------------------------------


def bearer(world, key):
    return [(b"authorization", f"Bearer {world.keys[key]}".encode())]


async def test_a_chat_over_the_rate_is_refused_before_its_frame_is_read(socket_world, monkeypatch):
    client = await socket_world.connect(headers=bearer(socket_world, "guest"))
    for name in ("a", "b"):
        client.chat(name)
        await client.until_end(name)
    read = []
    monkeypatch.setattr(frames, "reading_frame", lambda raw, _: read.append(raw))

    client.chat("c", text="word " * 2_000)
    frame = (await client.until_end("c"))[-1]

    assert (frame["error"]["code"], frame["status"]) == ("request_rate", 429)
    assert int(frame["headers"]["retry-after"]) >= 1
    assert not read


async def test_a_small_chat_over_the_rate_is_refused_too(socket_world):
    client = await socket_world.connect(headers=bearer(socket_world, "guest"))
    for name in ("a", "b", "c"):
        client.chat(name)
    ends = [(await client.until_end(name))[-1] for name in ("a", "b", "c")[2:]]

    assert ends[0]["error"]["code"] == "request_rate"
    assert ends[0]["headers"]["x-ratelimit-limit-requests"] == "2"


async def test_large_frames_that_begin_nothing_count(socket_world):
    """Small ones are cheap, and may cancel or resume."""
    client = await socket_world.connect(headers=bearer(socket_world, "guest"))
    large = json.dumps({"id": "x", "type": "nonsense", "pad": "y" * 5_000})
    for _ in range(2):
        client.say(large)
        assert (await client.frame())["error"]["code"] == "invalid_request"
    client.say({"id": "x", "type": "nonsense"})
    assert (await client.frame())["error"]["code"] == "invalid_request"

    client.say(large)
    frame = await client.frame()
    assert (frame["id"], frame["error"]["code"]) == ("x", "request_rate")


PAD = "y" * 5_000
NO_CHATS = {
    "a chat whose id is taken": {"id": "a", "type": "chat", "body": {**HI, "pad": PAD}},
    "a padded cancel": {"id": "none", "type": "cancel", "pad": PAD},
    "a padded resume": {"id": "none", "type": "resume", "pad": PAD},
}


@pytest.mark.parametrize("kind", NO_CHATS)
async def test_large_frames_that_are_read_and_begin_no_chat_count(socket_world, kind):
    """Whatever is said in them: they take as long to read as any other."""
    socket_world.ingresses[0].lanes.gate.clear()
    client = await socket_world.connect(headers=bearer(socket_world, "guest"))
    client.chat("a")
    client.say(NO_CHATS[kind])
    assert (await client.frame())["error"]["code"] != "request_rate"

    client.say(NO_CHATS[kind])
    assert (await client.frame())["error"]["code"] == "request_rate"
    socket_world.ingresses[0].lanes.gate.set()


async def test_a_large_frame_whose_client_leaves_while_it_is_read_counts(socket_world, monkeypatch):
    ingress = socket_world.ingresses[0]
    monkeypatch.setattr(big_bodies, "BIG_BYTES", 1)
    turn = ingress.hub.big_bodies.turn
    await turn.take("another")
    client = await socket_world.connect(headers=bearer(socket_world, "guest"))
    client.chat("a", text=PAD)
    await until(lambda: "guest" in turn.waiting)

    await client.leave()
    await until(lambda: left(ingress, "guest") == 1)
    turn.leave()
