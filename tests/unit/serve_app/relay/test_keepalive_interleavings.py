"""Comments at any moment of a stream: without them it is the stream that had none."""

import asyncio
import itertools
import tempfile
from pathlib import Path
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from serve_app.pipeline import pipeline
from serve_app.relay.keepalive import COMMENT, Keepalive
from serve_app.transport.upstream import BrokenConnection
from tests.examples import examples
from tests.unit.serve_app.conftest import FakeResponse, World
from tests.unit.serve_app.relay.listening import ASK, CHAT, STREAMED, Listener

CHUNKS = [
    b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant"}}]}\n\n',
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"},"token_ids":[7]}]}\n\n',
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":": waiting"}}]}\n\n',
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
]
CLOSING = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
MESSAGE = b"".join(
    b"event: %b\ndata: %b\n\n" % x
    for x in (
        (b"message_start", b'{"type":"message_start","message":{"usage":{"input_tokens":7}}}'),
        (b"content_block_delta", b'{"type":"content_block_delta","delta":{"text":"a"}}'),
        (b"message_delta", b'{"type":"message_delta","usage":{"output_tokens":3}}'),
    )
)
SILENCE, SLOW, FAULT = "silence", "slow", "fault"
TURNS = 4
"""Of the event loop, for which a slow client does not read."""


@st.composite
def streams(draw) -> tuple[str, dict, list]:
    """A route, a body, and what happens in each attempt: pieces, comments, slowness, faults."""
    is_chat = draw(st.booleans())
    others = st.sampled_from([SILENCE, SLOW])
    failing = st.lists(st.lists(others, max_size=3), max_size=3)
    attempts = [[*steps, FAULT] for steps in draw(failing)]
    whole = MESSAGE
    if is_chat:
        whole = b"".join([*draw(st.lists(st.sampled_from(CHUNKS), max_size=6)), CLOSING, DONE])
    cuts = sorted(draw(st.sets(st.integers(1, len(whole) - 1), max_size=6)))
    edges = [0, *cuts, len(whole)]
    steps: list = []
    for start, end in itertools.pairwise(edges):
        steps += draw(st.lists(others, max_size=2))
        steps.append(whole[start:end])
    steps += draw(st.lists(others, max_size=2))
    if draw(st.integers(0, 3)) == 0:
        steps.insert(draw(st.integers(0, len(steps))), FAULT)
    path = CHAT if is_chat else "/v1/messages"
    body = {**STREAMED, "presence_penalty": 1} if is_chat else {**ASK, "stream": True}
    return path, body, [*attempts, steps, [FAULT], [FAULT], [FAULT]]


class Answer(FakeResponse):
    """An engine's stream between whose pieces other things happen."""

    def __init__(self, steps, act) -> None:
        super().__init__(*steps, content_type="text/event-stream")
        self._act = act

    async def readany(self) -> bytes:
        while self.parts and isinstance(self.parts[0], str):
            step = self.parts.pop(0)
            if step == FAULT:
                raise BrokenConnection("cut")
            self._act(step)
            # As long as a socket takes to have something.
            await asyncio.sleep(0)
        return await super().readany()


class Run:
    """One request, and all that is told of it."""

    def __init__(self, world, *, comments: bool) -> None:
        self.world, self.comments = world, comments
        self.timers: list[Keepalive] = []
        self.faults: list[dict] = []
        self.client: Listener

    def act(self, step: str) -> None:
        if step == SLOW:
            self.client.reads.clear()
            self._turn(TURNS)
        else:
            self._comment()

    def _comment(self) -> None:
        """The timer rings, if it is still set."""
        if self.comments and not self.timers[-1]._timer.cancelled():
            self.timers[-1].send_comment()

    def _turn(self, left: int) -> None:
        """A slow client reads again after some turns; in each of them a comment is tried."""
        self._comment()
        if left:
            asyncio.get_running_loop().call_soon(self._turn, left - 1)
        else:
            self.client.reads.set()

    def keep_alive(self, call, plan, send) -> None:
        self.timers.append(Keepalive(call, send, 1000.0))
        call.reply.hush = self.timers[-1].stop

    async def run(self, path, body, attempts) -> tuple:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.faults.append(context))
        self.world.lanes.answers = [Answer([*steps], self.act) for steps in attempts]
        with (
            mock.patch.object(pipeline, "keep_alive", self.keep_alive),
            mock.patch("serve_app.relay.failover.PAUSE_S", 0.0),
        ):
            self.client = Listener(self.world, body, path=path, **{"x-request-id": "r1"})
            await self.client.end()
        assert not self.faults
        samples = {
            (x.name, *x.labels.values()): x.value
            for family in self.world.metrics.registry.collect()
            for x in family.samples
            if "_seconds" not in x.name or x.name.endswith("_count")
            if "_created" not in x.name
        }
        return self.client, samples


def run(path, body, attempts, *, comments: bool) -> tuple:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        try:
            return asyncio.run(Run(world, comments=comments).run(path, body, attempts))
        finally:
            world.recorder.close()
            world.store.close()
            world.meter.close()
            world.tenancy.close()


@given(streams())
@examples(60)
def test_without_its_comments_a_stream_is_what_it_was(given_stream):
    """Bytes, attempts and every count; a refusal, once the head was out, is the stream's event."""
    plain, counted = run(*given_stream, comments=False)
    heard, counted_too = run(*given_stream, comments=True)

    assert counted_too == counted
    if heard.bodies[0] != COMMENT or plain.status == 200:
        assert (heard.status, heard.said) == (plain.status, plain.said)
    else:
        assert heard.status == 200 and heard.error["code"] in plain.said.decode()
    assert all(body == COMMENT or COMMENT not in body for body in heard.bodies)
    assert plain.bodies.count(COMMENT) == 0


def test_comments_are_there_to_be_left_out():
    """Before, between and after the events of one stream, over a fault."""
    steps = [SILENCE, CHUNKS[0], SILENCE, CHUNKS[2], SLOW, CLOSING, SILENCE, DONE]

    heard, _ = run(CHAT, STREAMED, [[SILENCE, FAULT], steps], comments=True)

    assert heard.bodies[:4] == [COMMENT, COMMENT, CHUNKS[0], COMMENT]
    assert heard.bodies.count(COMMENT) == 3
    assert heard.said == CHUNKS[0] + CHUNKS[2] + DONE
