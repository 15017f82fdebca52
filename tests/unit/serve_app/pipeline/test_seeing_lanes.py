"""Requests with images: to a lane that reads them, or refused with the names of those that do."""

import pytest

from tests.unit.serve_app.pipeline.pooling_world import EYES, LANES, with_pooling
from tests.wrong_bodies import CHAT, MESSAGES, RESPONSES

URL = "data:image/png;base64,iVBORw0KGgo="
TEXT = {"type": "text", "text": "What is this?"}
SHOWN = {"type": "image_url", "image_url": {"url": URL}}
SOURCE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
IMAGE = {"type": "image", "source": SOURCE}


def asks(*parts):
    return {"messages": [{"role": "user", "content": list(parts)}], "max_tokens": 4}


CALLED = {
    "role": "assistant",
    "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
}
RESULT = {"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]}
SCREENSHOT = {
    "messages": [
        {"role": "user", "content": "Look."},
        CALLED,
        {"role": "user", "content": [RESULT]},
    ],
    "max_tokens": 4,
}
INPUT = [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}]

WITH_IMAGES = [
    (CHAT, asks(TEXT, SHOWN)),
    (CHAT, asks({"image_url": {"url": URL}})),
    (CHAT, asks(TEXT, {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AA"}})),
    (MESSAGES, asks(TEXT, IMAGE)),
    (MESSAGES, SCREENSHOT),
    (RESPONSES, {"input": INPUT, "max_output_tokens": 4}),
]


@pytest.fixture
def lanes(world):
    return with_pooling(world)


def error(response):
    return response.json()["error"]


@pytest.mark.parametrize(("path", "body"), WITH_IMAGES)
async def test_images_go_to_the_lane_that_sees(world, lanes, path, body):
    """In every form that an API has for them."""
    answer = await world.post(path, body, key="acme")

    assert answer.headers["x-pointsman-lane"] == "eyes", answer.text
    assert answer.headers["x-pointsman-reason"] == "vision"


@pytest.mark.parametrize(("path", "body"), WITH_IMAGES)
async def test_a_lane_that_is_named_and_sees_nothing_says_which_does(world, lanes, path, body):
    refused = await world.post(path, {**body, "model": "quality"}, key="acme")

    assert refused.status_code == 400
    assert "'large' does not read images; these do: eyes." in error(refused)["message"]
    assert lanes.opened == []


async def test_a_lane_that_sees_may_be_named(world, lanes):
    answer = await world.post(CHAT, {**asks(SHOWN), "model": EYES}, key="acme")

    assert answer.headers["x-pointsman-reason"] == "pinned"


async def test_nothing_moves_an_image_to_a_lane_that_is_blind(world, lanes):
    """Neither a hard question, nor the turn's own lane, nor stickiness."""
    body = asks({"type": "text", "text": "A hard question"}, SHOWN)
    told = {"x-session-id": "s"}
    await world.post(
        CHAT, asks({"type": "text", "text": "A hard question"}), key="acme", headers=told
    )
    answer = await world.post(CHAT, body, key="acme", headers=told)

    assert [lanes.opened[i][2]["model"] for i in (0, 1)] == ["large", EYES]
    assert answer.headers["x-pointsman-reason"] == "vision"


async def test_text_stays_where_it_was(world, lanes):
    answer = await world.post(CHAT, asks(TEXT), key="acme")

    assert answer.headers["x-pointsman-lane"] == "chat"


async def test_a_tenant_without_such_a_lane_is_told_so(world, lanes):
    refused = await world.post(CHAT, asks(SHOWN), key="guest")

    assert (refused.status_code, error(refused)["code"]) == (400, "invalid_request")
    assert "read images: send text alone" in error(refused)["message"]


async def test_a_fleet_that_says_nothing_of_sight_leaves_it_to_its_engines(world):
    """As before there was the key: vLLM refuses what its model does not take."""
    told = {name: {k: v for k, v in x.items() if k != "sees"} for name, x in LANES.items()}
    with_pooling(world, told)
    answer = await world.post(CHAT, asks(SHOWN), key="acme")

    assert answer.headers["x-pointsman-lane"] == "chat"


async def test_media_of_other_hosts_are_refused_as_before(world, lanes):
    far = {"type": "image_url", "image_url": {"url": "http://10.0.0.1/x.png"}}
    refused = await world.post(CHAT, asks(far), key="acme")

    assert refused.status_code == 400 and "is not fetched" in error(refused)["message"]
    assert lanes.opened == []
