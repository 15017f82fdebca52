"""Asking a deployment, with its refusals."""

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fake_deployment import FakeDeployment, refusal

from serve_app.commands.label.client import RETRY_LIMIT_S, Deployment, SampleFailed

ASK = {
    "lane": "chat",
    "messages": [{"role": "user", "content": "x"}],
    "seed": 1,
    "temperature": 0.0,
    "max_tokens": 5,
    "session": "label-x",
}


@pytest.fixture
async def asked():
    """A fake deployment, a client of it, and the seconds that the client waited."""
    fake, waits = FakeDeployment(), []

    async def sleep(seconds) -> None:
        waits.append(seconds)

    async with TestServer(fake.app()) as server, aiohttp.ClientSession() as http:
        yield fake, Deployment(http, str(server.make_url("/")), concurrency=1, sleep=sleep), waits


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refusal_is_waited_out(asked, status) -> None:
    """As long as the deployment asks for, and at least a second."""
    fake, deployment, waits = asked
    left = [refusal(status, "shed", 7), refusal(status, "shed", 0), refusal(status, "shed", 2)]
    fake.answer = lambda lane, body: left.pop(0) if left else "at last"

    answer = await deployment.ask(**ASK)

    assert (answer.text, answer.model, answer.is_cut) == ("at last", "small", False)
    assert waits == [7, 1, 2]


@pytest.mark.parametrize("header", [None, "soon", "-3", "nan", "inf"])
async def test_without_a_readable_retry_after_waits_grow(asked, header) -> None:
    """From a second on, doubling up to half a minute, for a few minutes in all."""
    fake, deployment, waits = asked
    fake.answer = lambda lane, body: refusal(503, "no_replica", header)

    with pytest.raises(SampleFailed, match=r"^chat: 503 no_replica$"):
        await deployment.ask(**ASK)

    assert waits[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert RETRY_LIMIT_S - 30 < sum(waits) <= RETRY_LIMIT_S
    assert len(fake.seen) == len(waits) + 1


async def test_a_wait_that_is_too_long_is_not_begun(asked) -> None:
    """A quota that comes back tomorrow fails at once."""
    fake, deployment, waits = asked
    fake.answer = lambda lane, body: refusal(429, "token_quota", RETRY_LIMIT_S + 1)

    with pytest.raises(SampleFailed):
        await deployment.ask(**ASK)

    assert waits == [] and len(fake.seen) == 1


@pytest.mark.parametrize(
    "made",
    [
        lambda fake: web.Response(text="<html>"),
        lambda fake: web.json_response({"choices": []}),
        lambda fake: web.json_response([1]),
        lambda fake: fake.said("chat", "x", **{"x-pointsman-model": ""}),
    ],
)
async def test_what_is_no_answer_fails_the_sample(asked, made) -> None:
    """Once, without a second attempt."""
    fake, deployment, _ = asked
    lane = {"x-pointsman-lane": "chat", "x-pointsman-model": "small"}

    def answer(_lane, body):
        response = made(fake)
        if "x-pointsman-lane" not in response.headers:
            response.headers.update(lane)
        return response

    fake.answer = answer

    with pytest.raises(SampleFailed):
        await deployment.ask(**ASK)

    assert len(fake.seen) == 1


async def test_no_content_is_an_empty_answer(asked) -> None:
    """A model may say nothing."""
    fake, deployment, _ = asked
    fake.answer = lambda lane, body: fake.said(lane, None, "length")

    answer = await deployment.ask(**ASK)

    assert (answer.text, answer.is_cut) == ("", True)


async def test_samples_have_a_session_of_their_own(asked) -> None:
    """Real conversations that begin alike are not touched."""
    fake, deployment, _ = asked

    await deployment.ask(**ASK)

    assert fake.headers[0]["x-session-id"] == "label-x"


async def test_lanes_are_found_by_name_and_by_model(asked) -> None:
    """In the order in which they were given."""
    _, deployment, _ = asked

    assert await deployment.lanes_of(["large", "chat"]) == ["quality", "chat"]
