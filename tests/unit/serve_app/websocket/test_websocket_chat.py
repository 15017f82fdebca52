"""The ring of frames, and the reading of frames, under anything that may come."""

import asyncio
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import Rejected
from serve_app.bodies.steps import at_once
from serve_app.config.serving import LimitsConfig
from serve_app.websocket import frames
from serve_app.websocket.chat import TOO_EARLY, TOO_LATE, Chat, Reader
from serve_app.websocket.frames import BadFrame, CancelFrame, ChatFrame, ResumeFrame, reading_frame
from tests.unit.serve_app.socket_world import check_chat

ALLOWANCE = 600


class FakeOwner:
    def __init__(self) -> None:
        self.kept_bytes = 0

    def allowance(self) -> int:
        return ALLOWANCE

    def changed(self, chat) -> None:
        pass


def attached(chat, after=0) -> Reader | Rejected:
    return chat.attach(after, lambda: None)


OPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(0, 200)),
        st.tuples(st.just("take"), st.integers(1, 5)),
        st.tuples(st.just("leave"), st.just(0)),
        st.tuples(st.just("attach"), st.integers(0, 40)),
        st.tuples(st.just("end"), st.just(0)),
    ),
    max_size=80,
)


@given(OPS)
def test_a_reader_gets_every_frame_after_its_number_once_and_in_order(ops):
    """Whatever is said, read, left and taken up again; and what is kept is bounded."""
    owner = FakeOwner()
    chat = Chat(owner, "acme", b'"a"', "k", "i1.k", "r")
    reader, expected = attached(chat), 1
    for op, number in ops:
        if op == "say":
            chat.add(b'{"x":"%b"}' % (b"y" * number))
        elif op == "end":
            chat.end(frames.done(chat.id, chat.last + 1))
        elif op == "leave":
            reader.detach()
        elif op == "attach":
            new = attached(chat, number)
            assert isinstance(new, Reader) or new in (TOO_EARLY, TOO_LATE)
            if isinstance(new, Reader):
                reader.detach()
                reader, expected = new, number + 1
        else:
            for _ in range(number):
                frame = reader.take()
                if frame is None:
                    break
                assert json.loads(frame)["seq"] == expected
                expected += 1
        check_chat(chat)
        assert owner.kept_bytes == chat.kept_bytes
        assert chat.kept_bytes <= max(ALLOWANCE, chat.unread_bytes)


def test_what_nobody_has_read_is_never_dropped():
    """However much it is; a client that comes back gets all of it."""
    chat = Chat(FakeOwner(), "acme", b"1", "k", "i1.k", "r")
    for _ in range(100):
        chat.add(b'{"x":1}')
    reader = attached(chat)

    taken = [json.loads(frame)["seq"] for frame in iter(reader.take, None)]

    assert taken == list(range(1, 101))


async def test_a_resume_past_what_was_unread_lets_the_stream_go_on():
    """The writer waits for room; a client that says it has it all has made some."""
    chat = Chat(FakeOwner(), "acme", b"1", "k", "i1.k", "r")
    attached(chat)
    body = b'data: {"x":"%b"}\n\n' % (b"y" * 2 * ALLOWANCE)
    saying = asyncio.create_task(
        chat.send({"type": "http.response.body", "body": body, "more_body": True})
    )
    await asyncio.sleep(0)
    assert not saying.done()

    assert isinstance(attached(chat, chat.last), Reader)

    await asyncio.wait_for(saying, 1)


def test_a_reader_that_is_displaced_hears_of_it_and_nothing_more():
    """One reader at a time."""
    chat = Chat(FakeOwner(), "acme", b"1", "k", "i1.k", "r")
    old, new = attached(chat), attached(chat)
    chat.add(b'{"x":1}')

    notice = json.loads(old.take())

    assert (notice["id"], notice["type"], old.is_over) == (1, "error", True)
    assert json.loads(new.take())["data"] == {"x": 1}
    old.detach()
    old.cancel()
    assert chat.has_reader and not chat.is_over


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FRAME = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON,
        "type": st.sampled_from(["chat", "cancel", "resume", "x"]) | JSON,
        "body": JSON,
        "after": JSON,
        "resume": JSON,
        "session_id": JSON,
        "request_id": JSON,
    },
)


@pytest.mark.security
@given(FRAME)
def test_any_json_is_a_frame_or_has_an_error_that_can_be_sent(value):
    """No frame raises, and an error names the id whenever there is a usable one."""
    raw = json.dumps(value).encode()

    frame = at_once(reading_frame(raw, LimitsConfig(max_body_bytes=4096)))

    if isinstance(frame, BadFrame):
        sent = orjson.loads(frames.refusal(frame.id, frame.rejected))
        assert sent["type"] == "error" and sent["error"]["code"] == frame.rejected.reason
    else:
        assert isinstance(frame, ChatFrame | CancelFrame | ResumeFrame)
        assert orjson.loads(frame.id) == value["id"]


@pytest.mark.security
@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_read_without_a_fault(raw, limit):
    """What is not JSON, or too long, has an error that can be sent."""
    frame = at_once(reading_frame(raw, LimitsConfig.model_construct(max_body_bytes=limit)))

    if isinstance(frame, BadFrame):
        assert isinstance(frame.rejected, Rejected)
        orjson.loads(frames.refusal(frame.id, frame.rejected))


def test_the_pinned_server_pings_within_half_of_the_usual_idle_limit():
    """Serve starts uvicorn without a word about sockets: its default is what counts."""
    import inspect

    import uvicorn
    from ray.serve._private import http_util

    config = uvicorn.Config(lambda: None)

    assert config.ws_ping_interval is not None and config.ws_ping_interval <= 30
    assert "ws_ping" not in inspect.getsource(http_util)
