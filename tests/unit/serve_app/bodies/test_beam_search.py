"""Beam search, which generates past the accounts, is nobody's: not in any spelling."""

import pytest

from serve_app.bodies.routes import ROUTES
from tests.wrong_bodies import SMALLEST

pytestmark = pytest.mark.security

SPELLINGS = [True, "true", "True", "on", "yes", "1", "off", "", 1, 0, 1.0, [], [True], {}, {"n": 4}]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("value", SPELLINGS, ids=repr)
async def test_no_spelling_of_it_reaches_an_engine(world, path, value):
    for more in ({}, {"n": 4}, {"stream": True}):
        body = {**SMALLEST[path], "use_beam_search": value, **more}
        response = await world.post(path, body, key="acme")

        assert response.status_code == 400
        assert "use_beam_search" in response.json()["error"]["message"]
    assert world.lanes.opened == []


async def test_of_a_name_that_comes_twice_no_engine_sees_another(world, engine):
    """The last one counts, and is all that is passed on."""
    text = '{"messages": [{"role": "user", "content": "Hi"}], "use_beam_search": %s}'
    on_last, off_last = 'false, "use_beam_search": true', 'true, "use_beam_search": false'
    for pair, status in ((on_last, 400), (off_last, 200)):
        world.lanes.answers = [engine({"choices": []})]
        async with world.client() as client:
            headers = {"authorization": f"Bearer {world.keys['acme']}"}
            response = await client.post(
                "/v1/chat/completions", content=text % pair, headers=headers
            )
        assert response.status_code == status

    (sent,) = world.lanes.opened
    assert sent.body["use_beam_search"] is False


@pytest.mark.parametrize("value", [False, None])
async def test_to_say_that_it_is_off_is_no_fault(world, engine, value):
    world.lanes.answers = [engine({"choices": []})]
    body = {**SMALLEST["/v1/chat/completions"], "use_beam_search": value}

    response = await world.post("/v1/chat/completions", body, key="acme")

    assert response.status_code == 200


@pytest.mark.parametrize("value", [True, "true", 1], ids=repr)
async def test_a_socket_s_chats_have_none_either(socket_world, value):
    client = await socket_world.connect()

    client.chat("a", use_beam_search=value, n=4)
    (frame,) = await client.until_end("a")

    assert frame["type"] == "error"
    assert "use_beam_search" in frame["error"]["message"]
    assert socket_world.engine_requests() == 0
    await client.leave()
    await socket_world.idle()


async def test_a_socket_s_chats_name_no_urls_either(socket_world):
    """The same walls stand before what an engine would fetch."""
    client = await socket_world.connect()
    part = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}

    client.chat("a", messages=[{"role": "user", "content": [part]}])
    (frame,) = await client.until_end("a")

    assert frame["type"] == "error"
    assert frame["error"]["param"] == "messages" and "image_url" in frame["error"]["message"]
    assert socket_world.engine_requests() == 0
    await client.leave()
    await socket_world.idle()
