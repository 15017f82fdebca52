"""What one tenant sends is never another's, and nothing of ours is theirs to set."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.placement.session import is_session_id, session_key
from router.types import Task
from serve_app.bodies.routes import ROUTES
from serve_app.protocol.trace_context import TRACE_HEADERS
from serve_app.relay.dispatch import PASSED_HEADERS
from tests.wrong_bodies import SMALLEST

pytestmark = pytest.mark.security

OURS = {"x-request-id", "content-type", "x-pointsman-turn"}
"""Headers that an engine gets from us, besides the endpoint's secret."""

THEIRS = {
    "x-pointsman-endpoint": "theirs",
    "x-pointsman-turn": "theirs",
    "x-vllm-x": "theirs",
    "x-data-parallel-rank": "1",
    "authorization": "Bearer {key}",
    "cookie": "theirs",
    "x-forwarded-host": "theirs",
    "connection": "x-pointsman-endpoint",
    "x-tenant-id": "guest",
    "host": "theirs.example",
    "content-length": "{length}",
}


@pytest.mark.parametrize("path", [x.path for x in ROUTES.values() if x.answers])
@pytest.mark.parametrize("key", ["acme", "slow"])
async def test_what_is_ours_to_say_is_said_by_us(world, engine, path, key) -> None:
    """Salt, priority and model of a body, and all headers but a few, whoever asks."""
    sent = []
    for theirs in ({}, {"cache_salt": "theirs", "priority": -99, "service_tier": "priority"}):
        world.lanes.answers = [engine()]
        body = {**SMALLEST[path], "model": "large" if key == "acme" else "auto", **theirs}
        assert (await world.post(path, body, key=key)).status_code == 200
        sent.append(world.lanes.opened[-1].body)

    plain, pressed = sent
    assert plain["cache_salt"] == pressed["cache_salt"] != "theirs"
    assert plain.get("priority") == pressed.get("priority") != -99
    assert plain["model"] == pressed["model"] == ("large" if key == "acme" else "small")


@pytest.mark.parametrize("path", [x.path for x in ROUTES.values() if x.task is Task.GENERATE])
async def test_no_header_of_a_client_s_reaches_an_engine_but_a_few(world, engine, path) -> None:
    """Those that name a form or a trace; nothing that could be taken for ours."""
    world.lanes.answers = [engine({"input_tokens": 3})]
    fill = {"key": world.keys["acme"], "length": "2"}
    lines = {name: value.format(**fill) for name, value in THEIRS.items()}
    del lines["content-length"]
    passed = {name.decode(): "theirs-to-say" for name in (*PASSED_HEADERS, *TRACE_HEADERS)}

    answer = await world.post(path, SMALLEST[path], headers={**lines, **passed})

    assert answer.status_code == 200, answer.text
    got = {name.lower(): value for name, value in world.lanes.opened[-1].headers.items()}
    assert got.keys() <= OURS | passed.keys()
    assert {name: got[name] for name in passed} == passed
    assert "theirs" not in got.values()


async def test_one_session_id_of_two_tenants_is_two_sessions(world, engine, monkeypatch) -> None:
    """Neither's replica, history nor presence is the other's."""
    seen = []
    choose = world.lanes.choose

    async def note(lane, session, avoid=frozenset()):
        seen.append(session)
        return await choose(lane, session, avoid)

    monkeypatch.setattr(world.lanes, "choose", note)
    for key in ("acme", "slow", "acme"):
        world.lanes.answers = [engine()]
        headers = {"x-session-id": "same"}
        body = SMALLEST["/v1/chat/completions"]
        answer = await world.post("/v1/chat/completions", body, key=key, headers=headers)
        assert answer.headers["x-session-id"] == "same"

    first, second, again = map(str, seen)
    assert first == again != second


texts = st.text(max_size=6) | st.sampled_from(["a", "a:b", "b", ":", "a/b", "a\x00", "\x00b"])


sessions = st.tuples(texts, texts.filter(is_session_id))


@given(sessions, sessions)
@example(("a", "b:c"), ("a:b", "c"))
def test_no_two_tenants_have_one_session(one, other) -> None:
    """However their names and ids are put together."""
    assert (session_key(*one) == session_key(*other)) is (one == other)


async def test_a_tenant_s_status_names_nobody_else(world, engine) -> None:
    """Not even that there are others."""
    for key in ("acme", "slow", "root"):
        world.lanes.answers = [engine()]
        await world.post("/v1/chat/completions", SMALLEST["/v1/chat/completions"], key=key)
    async with world.client(key="acme") as client:
        text = (await client.get("/status")).text
        refused = [(await client.get("/metrics")), (await client.post("/admin/reload"))]

    assert "acme" in text
    assert [name for name in ("slow", "guest", "ops", "root") if f'"{name}"' in text] == []
    assert [x.status_code for x in refused] == [403, 403]
