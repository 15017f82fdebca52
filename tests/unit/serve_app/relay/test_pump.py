"""Which twin of the pump is taken, and what of a stream it takes."""

import asyncio
from types import MethodType, SimpleNamespace

import pytest

from classifier import native
from classifier.native import BY_WISH, Choice, NativeError
from serve_app.config.errors import ConfigError
from serve_app.doctor.check import Result
from serve_app.doctor.machine.packages import pump
from serve_app.metrics import Series
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import FirstStream
from serve_app.relay.pump.choice import chosen, pump_for, row
from serve_app.request.reply import StreamState
from tests.pumps import TWINS, Charge, streamed, twin
from tests.unit.serve_app.transport.raw_server import chunk

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":" a"},"token_ids":[%d]}]}\n\n'
DONE = b"data: [DONE]\n\n"


BUILT = Choice(SimpleNamespace(), "built from this text")
MISSING = Choice(None, "not built")
UNWANTED = Choice(None, BY_WISH)


def test_a_twin_that_cannot_be_had_stops_the_start(monkeypatch):
    monkeypatch.setattr(native, "chosen", refused)

    with pytest.raises(ConfigError, match="not built"):
        chosen()


def refused(_) -> Choice:
    raise NativeError("not built")


def test_both_twins_are_told():
    assert row().keys() == {"pump", "reason", "classifier", "classifier_reason"}


@pytest.mark.parametrize(
    ("tokens", "prompts", "result"),
    [
        (BUILT, BUILT, Result.OK),
        (UNWANTED, UNWANTED, Result.OK),
        (MISSING, BUILT, Result.WARNING),
        (BUILT, MISSING, Result.WARNING),
    ],
)
def test_the_doctor_warns_where_one_was_not_built(tokens, prompts, result):
    assert pump(lambda: {"pump": tokens, "classifier": prompts}).result is result


def test_a_stream_whose_events_are_looked_into_has_none():
    stream = SimpleNamespace(reader=None)

    assert pump_for(stream, None, None, None, None, None, None) is None


@pytest.mark.parametrize("name", TWINS)
def test_tokens_go_through_it_and_not_through_the_long_way(name, monkeypatch):
    """But the first two, and those at which the charge or the first tokens are looked at."""
    slow: list[bytes] = []
    monkeypatch.setattr("serve_app.relay.forwarder.Forwarder._take", taking_note(slow, "_take"))
    pieces = [*(chunk(EVENT % n) for n in range(1, 100)), chunk(DONE), b"0\r\n\r\n"]

    found = asyncio.run(streamed(twin(name), pieces, charge=Charge(None)))

    # A charge is outgrown with each eleventh token; the 30th is noted, too.
    assert len(slow) == 2 + 9 + 1
    assert found.tokens == 99 and found.charged[0] == 99
    assert found.bodies[1:-1] == [(EVENT % n).replace(b"[%d]" % n, b"null") for n in range(1, 100)]
    assert found.bodies[-1] == DONE


def taking_note(noted: list[bytes], name: str):
    from serve_app.relay.forwarder import Forwarder

    original = getattr(Forwarder, name)

    def wrapped(self, chunk, now):
        noted.append(chunk)
        return original(self, chunk, now)

    return wrapped


@pytest.mark.parametrize("name", TWINS)
def test_what_sending_raises_is_the_streams_end(name):
    found = asyncio.run(streamed(twin(name), [chunk(EVENT % n) for n in range(1, 9)], fails_at=5))

    assert found.error is KeyError
    assert found.tokens == 5


@pytest.mark.parametrize("name", TWINS)
def test_a_function_that_is_bound_to_what_writes_chunks_is_not_passed_by(name):
    seen = []
    chunks = twin(name).Chunks(SimpleNamespace(is_full=False), seen.append, seen.append)
    look = MethodType(lambda _, body: seen.append(("looked", body)), chunks)
    stream, state = FirstStream(EventReader(hide_usage=True), None, Dialect.OPENAI), StreamState()
    state.last = 1.0
    made = twin(name).Pump(stream, state, Series((1.0,)), None, None, look, seen.append, 2**16)
    made.arm(10)

    assert made.push(chunk(EVENT % 1)) is True
    assert seen == [("looked", EVENT % 1)]
