"""Reading a request's body: at once where it is there, under the clock where it is not."""

import asyncio

import pytest

from serve_app.front.request_body import NOT_ARRIVED, ClientGone, RequestBody

LENGTH = {b"content-length": b"4"}


def part(body: bytes, *, more: bool = False) -> dict[str, object]:
    return {"type": "http.request", "body": body, "more_body": more}


def giving(*messages):
    """A `receive` that has these messages at hand; what is a number of turns waits for so many."""
    left = list(messages)

    async def receive():
        while left and isinstance(left[0], int):
            for _ in range(left.pop(0)):
                await asyncio.sleep(0)
        if not left:
            await asyncio.Event().wait()
        return left.pop(0)

    return receive


async def test_a_body_that_is_there_sets_no_clock(monkeypatch):
    def no_clock(*_args, **_named):
        raise AssertionError

    monkeypatch.setattr(asyncio, "timeout_at", no_clock)
    body = RequestBody(LENGTH, giving(part(b"whole")))

    assert await body.read(100, 1.0, 1.0) == b"whole"
    assert not body.has_more


@pytest.mark.parametrize(
    "messages",
    [
        (part(b"a", more=True), part(b"b")),
        (3, part(b"a", more=True), part(b"b")),
        (part(b"a", more=True), 2, part(b"", more=True), 1, part(b"b")),
    ],
)
async def test_pieces_are_put_together_whenever_they_come(messages):
    assert await RequestBody(LENGTH, giving(*messages)).read(100, 9.0, 9.0) == b"ab"


@pytest.mark.parametrize("messages", [(), (part(b"a", more=True),)])
async def test_what_does_not_come_is_not_waited_for(messages):
    """Neither the first piece nor the next; the one that is there already is no reason to wait."""
    assert await RequestBody(LENGTH, giving(*messages)).read(100, 0.0, 9.0) is NOT_ARRIVED


@pytest.mark.parametrize(
    "messages",
    [(part(b"12345"),), (2, part(b"12345")), (part(b"123", more=True), part(b"45"))],
)
async def test_too_much_is_refused_whichever_way_it_comes(messages):
    refused = await RequestBody({b"content-length": b"1"}, giving(*messages)).read(4, 9.0, 9.0)

    assert refused.reason == "request_too_large"


@pytest.mark.parametrize("before", [(), (2,)])
async def test_a_client_that_leaves_ends_the_reading(before):
    body = RequestBody(LENGTH, giving(*before, {"type": "http.disconnect"}))

    with pytest.raises(ClientGone):
        await body.read(100, 9.0, 9.0)


async def test_who_is_cancelled_while_it_waits_leaves_nothing_waiting():
    """The cancellation reaches what is awaited, which was begun before there was a clock."""
    ended = []

    async def receive():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    reading = asyncio.create_task(RequestBody(LENGTH, receive).read(100, 9.0, 9.0))
    await asyncio.sleep(0)
    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading
    assert ended
