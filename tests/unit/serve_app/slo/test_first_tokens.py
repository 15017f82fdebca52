"""When a stream's first 30 tokens were there: found by the comparison that charges ceilings."""

import math
from types import SimpleNamespace

import pytest

from router.slo.judging import FIRST_TOKENS
from serve_app.metrics import Series
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import FirstStream
from serve_app.relay.forwarder import Forwarder
from serve_app.request.call import Served
from serve_app.request.reply import StreamState
from tests.unit.serve_app.conftest import FakeResponse
from tests.unit.serve_app.pipeline.test_gateway_serving import delta


class Charge:
    """Covers so many tokens, then 15 more each time that it is asked; inf: all of them."""

    pacer = None

    def __init__(self, covered: float) -> None:
        self.covered_tokens, self.asked = covered, []

    def cover(self, tokens, *, now) -> float:
        self.asked.append(tokens)
        return tokens + 15


async def forward(tokens, each=1, covered=math.inf, before=0):
    """Forward so many, some a chunk; return when the mark was first there, and what was asked."""
    charge, served, marks = Charge(covered), Served(), []
    state = StreamState(tokens=before)
    call = SimpleNamespace(
        charge=charge, served=served, reply=SimpleNamespace(stream=state), started=0.0
    )

    async def send(message) -> None:
        marks.append(served.first_tokens_s is not None)

    async def begin(call, send, now) -> None:
        pass

    words = [delta(str(i)) for i in range(tokens)]
    chunks = [b"".join(words[i : i + each]) for i in range(0, tokens, each)]
    stream = FirstStream(EventReader(hide_usage=False), None, Dialect.OPENAI)
    forwarder = Forwarder(call, stream, send, Series((1.0,)), begin, lambda *_: None)
    await forwarder.run(FakeResponse(*chunks))
    return marks, charge.asked


@pytest.mark.parametrize("covered", [math.inf, 100, 29, 28, 5, 0])
@pytest.mark.parametrize("each", [1, 3, 7])
async def test_the_thirtieth_token_is_marked_whatever_is_charged_meanwhile(covered, each):
    """It goes out with the mark set, and nothing before it does."""
    marks, _ = await forward(40, each=each, covered=covered)

    assert marks.index(True) == -(-FIRST_TOKENS // each) - 1
    assert all(marks[marks.index(True) :])


async def test_what_is_charged_is_what_it_was_without_the_mark():
    """Each time that the stream outgrows what is covered, and not once more."""
    _, asked = await forward(100, covered=10)

    assert asked == [11, 27, 43, 59, 75, 91]


@pytest.mark.parametrize(("tokens", "is_marked"), [(29, False), (30, True)])
async def test_a_shorter_stream_has_no_mark(tokens, is_marked):
    """Nothing is guessed."""
    marks, _ = await forward(tokens)

    assert any(marks) is is_marked


async def test_tokens_of_an_engine_before_count():
    """A stream that went on elsewhere."""
    marks, _ = await forward(15, before=20)

    assert marks.index(True) == 9
