"""What a client hears of a stream that waits, and what that changes for nobody."""

import asyncio
import json
import time

import pytest

from router.admission.saturation import Level
from serve_app.config.serving import TimeoutConfig
from serve_app.relay import keepalive
from serve_app.relay.keepalive import COMMENT
from serve_app.transport.upstream import BrokenConnection, SilentConnection
from tests.unit.serve_app.admission.test_admission import is_idle, queue_of, until, with_slots
from tests.unit.serve_app.admission.test_contended import with_ceilings
from tests.unit.serve_app.relay.listening import ASK, CHAT, STREAMED, Listener, with_keepalive

TOKEN = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
MESSAGES = {"messages": ASK["messages"], "max_tokens": 5, "stream": True}
RESPONSES = {"input": "Hello", "max_output_tokens": 5, "stream": True}
ROUTES = [(CHAT, STREAMED), ("/v1/messages", MESSAGES), ("/v1/responses", RESPONSES)]
EVERY_S = 0.01


@pytest.fixture
def soon(world):
    """The world with a comment after ten milliseconds of silence."""
    with_keepalive(world, EVERY_S)
    return world


@pytest.fixture
def made(monkeypatch):
    """The timers that were set."""
    timers = []

    class Noted(keepalive.Keepalive):
        __slots__ = ()

        def __init__(self, *args) -> None:
            super().__init__(*args)
            timers.append(self)

    monkeypatch.setattr(keepalive, "Keepalive", Noted)
    return timers


def recoveries(world, outcome) -> float:
    return world.count("pointsman_stream_recoveries_total", outcome=outcome)


def codes(world) -> dict[str, float]:
    """How requests ended, as `requests_total` counts them."""
    samples = [x for family in world.metrics.registry.collect() for x in family.samples]
    found = [x for x in samples if x.name == "pointsman_requests_total" and x.value]
    return {x.labels["code"]: x.value for x in found}


async def test_a_queued_stream_hears_the_head_and_comments_first(soon, stream):
    """Then the engine's events, and nothing is counted that was not before."""
    with_slots(soon, 1)
    gate = asyncio.Event()
    soon.lanes.answers = [stream(gate, TOKEN, DONE), stream(TOKEN, TOKEN, DONE)]
    first = Listener(soon)
    await until(lambda: soon.lanes.opened)
    queued = Listener(soon, **{"x-session-id": "s1", "x-pointsman-debug": "1"})
    await queued.comments(2)

    assert queue_of(soon).is_waiting and len(soon.lanes.opened) == 1
    assert queued.status == 200 and queued.said == b""
    assert soon.count("pointsman_time_to_first_token_seconds_count", lane="chat", tier="paid") == 0
    gate.set()
    await first.end()
    await queued.end()

    named = {"x-session-id": "s1", "x-pointsman-lane": "chat", "x-pointsman-model": "small"}
    named |= {"x-pointsman-reason": "default", "cache-control": "no-cache"}
    named |= {"content-type": "text/event-stream; charset=utf-8", "x-accel-buffering": "no"}
    assert named.items() <= queued.headers.items()
    # Not chosen yet, so not told.
    assert "x-pointsman-replica" not in queued.headers
    assert "queue;" not in queued.headers["server-timing"]
    # What the head could not say comes as a comment.
    said, _, timing = queued.said.partition(b": server-timing: ")
    assert said == TOKEN + TOKEN + DONE and b"queue;dur=" in timing and b"relay;dur=" in timing
    assert soon.count("pointsman_time_to_first_token_seconds_count", lane="chat", tier="paid") == 2
    assert soon.count("pointsman_inter_token_latency_seconds_count", lane="chat", tier="paid") == 3
    assert soon.count("pointsman_tokens_total", tenant="acme", kind="completion") == 5
    assert codes(soon) == {"200": 2.0} and is_idle(soon) and soon.reserved() == 0


async def test_a_stream_that_starts_in_time_is_as_before(world, stream):
    """The head comes with the first event; the timer is gone."""
    world.lanes.answers = [stream(TOKEN, DONE)]
    client = Listener(world)
    await client.end()

    assert client.bodies == [TOKEN, DONE, b""]
    assert world.state.policies.fleet.timeouts.keepalive_s == 15
    timers = [x for x in asyncio.get_running_loop()._scheduled if not x.cancelled()]
    assert not [x for x in timers if "Keepalive" in repr(x)]


@pytest.mark.parametrize(
    "fault", [BrokenConnection("cut"), SilentConnection()], ids=["breaks", "hangs"]
)
@pytest.mark.parametrize(("path", "body"), ROUTES)
async def test_comments_are_not_the_beginning_of_an_answer(soon, stream, path, body, fault):
    """A fault before the first event is retried from scratch; one that hung is a time-out."""
    gate = asyncio.Event()
    content = {
        CHAT: TOKEN + DONE,
        "/v1/messages": b'event: content_block_delta\ndata: {"type":"content_block_delta"}\n\n',
        "/v1/responses": b'event: response.output_text.delta\ndata: {"type":"r.delta"}\n\n',
    }[path]
    soon.lanes.answers = [stream(gate, fault), stream(content)]
    client = Listener(soon, body, path=path)
    await client.comments(1)
    gate.set()
    await client.end()

    if isinstance(fault, SilentConnection):
        assert client.error["code"] == "deadline_exceeded"
        assert codes(soon) == {"deadline_exceeded": 1.0}
    else:
        assert client.said == content
        assert [x.replica for x in soon.lanes.opened] == ["r1", "r2"]
        assert soon.lanes.opened[0].body == soon.lanes.opened[1].body
        assert recoveries(soon, "retried") == 1 and codes(soon) == {"200": 1.0}
    assert soon.reserved() == 0


@pytest.mark.parametrize(("path", "body"), ROUTES)
async def test_a_refusal_after_the_head_is_one_error_event(soon, stream, path, body):
    """With its own code, and the seconds that a header would have said; metrics say the same."""
    gate = asyncio.Event()
    soon.lanes.answers = [stream(gate, BrokenConnection("cut")) for _ in range(3)]
    client = Listener(soon, body, path=path)
    await client.comments(1)
    gate.set()
    await client.end()

    assert (client.status, client.error["code"], client.error["retry_after"]) == (
        200,
        "request_rate",
        10,
    )
    assert client.bodies[-1] == client.said
    event = b"data: {" if path == CHAT else b"event: error\ndata: {"
    assert client.said.startswith(event) and client.said.endswith(b"}\n\n")
    assert codes(soon) == {"request_rate": 1.0}
    assert soon.count("pointsman_shed_total", tier="paid", code="request_rate") == 1
    assert soon.reserved() == 0


async def test_a_refusal_before_the_first_comment_keeps_status_and_headers(world, stream):
    """The line is the first comment."""
    world.lanes.answers = [stream(BrokenConnection("cut")) for _ in range(3)]
    client = Listener(world)
    await client.end()

    assert (client.status, client.headers["retry-after"]) == (429, "10")
    assert "retry_after" not in json.loads(client.said)["error"]


async def test_the_engines_refusal_after_the_head_is_the_clients_to_know(soon, engine):
    """A 400, as its status or as the first event of a 200."""
    gate = asyncio.Event()
    answer = engine(
        {
            "error": {
                "message": "Invalid JSON grammar specification",
                "param": "structured_outputs",
                "code": 400,
            }
        },
        status=400,
    )
    answer.parts.insert(0, gate)
    soon.lanes.answers = [answer]
    client = Listener(soon)
    await client.comments(1)
    gate.set()
    await client.end()

    assert client.status == 200
    assert client.error == {
        "message": "Invalid JSON grammar specification",
        "type": "invalid_request_error",
        "param": "structured_outputs",
        "code": "invalid_request",
    }
    assert codes(soon) == {"invalid_request": 1.0} and len(soon.lanes.opened) == 1


async def test_a_bad_request_told_as_the_first_event_is_refused_late_too(soon, stream):
    gate = asyncio.Event()
    fault = b'data: {"error":{"message":"Invalid JSON grammar specification","code":400}}\n\n'
    soon.lanes.answers = [stream(gate, fault, DONE)]
    client = Listener(soon)
    await client.comments(1)
    gate.set()
    await client.end()

    assert client.error["code"] == "invalid_request"
    assert client.said.count(b"data: ") == 1 and codes(soon) == {"invalid_request": 1.0}


@pytest.mark.parametrize("is_queued", [True, False], ids=["queued", "at its engine"])
async def test_free_work_that_only_heard_comments_is_shed_for_paid(soon, stream, is_queued):
    with_slots(soon, 1 if is_queued else 2)
    soon.lanes.answers = [stream(asyncio.Event()), stream(asyncio.Event())]
    paid = Listener(soon)
    await until(lambda: soon.lanes.opened)
    free = Listener(soon, key="guest")
    await free.comments(2)

    queue_of(soon).set_level(Level.EVICT, time.monotonic())
    await free.end()

    assert (free.status, free.error["code"]) == (200, "shed")
    assert free.error["retry_after"] >= 1
    assert soon.count("pointsman_shed_total", tier="free", code="shed") == 1
    await paid.leave()
    assert is_idle(soon) and codes(soon) == {"shed": 1.0, "499": 1.0}


async def test_a_client_that_leaves_while_it_waits_leaves_the_queue(soon, stream):
    with_slots(soon, 1)
    soon.lanes.answers = [stream(asyncio.Event())]
    first = Listener(soon)
    await until(lambda: soon.lanes.opened)
    gone = Listener(soon)
    await gone.comments(1)
    count = len(gone.bodies)

    await gone.leave()

    assert not queue_of(soon).is_waiting
    await first.comments(len(first.bodies) + 2)
    assert len(gone.bodies) == count
    await first.leave()
    assert is_idle(soon) and codes(soon) == {"499": 2.0} and soon.in_flight == 0


async def test_a_wait_for_a_lease_is_heard_and_may_end_in_a_refusal(soon, stream, monkeypatch):
    """A ceiling by then is told in an event; headers are those of the beginning."""
    with_ceilings(soon, tokens_per_minute=1_000)
    gate = asyncio.Event()
    soon.lanes.answers = [stream(TOKEN, gate, DONE) for _ in range(2)]
    half = {**STREAMED, "max_tokens": 600, "min_tokens": 600}
    first = [asyncio.create_task(soon.post(CHAT, half, key="acme")) for _ in range(2)]
    await until(lambda: len(soon.lanes.opened) == 2)
    waits = asyncio.Event()

    async def may_grow(*_) -> bool:
        await waits.wait()
        return False

    monkeypatch.setattr(soon.state, "may_grow", may_grow)
    client = Listener(soon, half)
    await client.comments(1)
    waits.set()
    await client.end()
    gate.set()
    await asyncio.gather(*first)

    assert client.error["code"] == "token_rate" and client.error["retry_after"] >= 1
    assert client.headers["x-ratelimit-limit-tokens"] == "1000"
    assert codes(soon) == {"200": 2.0, "token_rate": 1.0}


async def test_a_gap_inside_a_stream_is_filled(soon, stream):
    """Whether the engine says nothing or another one takes over; between events only."""
    gate, second = asyncio.Event(), asyncio.Event()
    halves = TOKEN[:20], TOKEN[20:]
    soon.lanes.answers = [stream(TOKEN, halves[0], gate, halves[1], second, DONE)]
    client = Listener(soon)
    await client.comments(2)
    assert client.bodies[0] == TOKEN and set(client.bodies[1:]) == {COMMENT}
    gate.set()
    await client.until(lambda: client.bodies.count(TOKEN) == 2)
    heard = client.bodies.count(COMMENT)
    await client.comments(heard + 1)
    second.set()
    await client.end()

    assert client.said == TOKEN + TOKEN + DONE
    assert client.headers["x-pointsman-lane"] == "chat"
    assert soon.count("pointsman_inter_token_latency_seconds_count", lane="chat", tier="paid") == 2


@pytest.mark.parametrize("keepalive_s", [None, 0])
async def test_it_can_be_switched_off(world, stream, made, keepalive_s):
    with_keepalive(world, TimeoutConfig(keepalive_s=keepalive_s).keepalive_s)
    world.lanes.answers = [stream(TOKEN, DONE)]

    answer = await world.post(CHAT, STREAMED, key="acme")

    assert answer.content == TOKEN + DONE and not made


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, ASK), ("/v1/messages/count_tokens", {**MESSAGES, "stream": True})],
    ids=["not streamed", "counting"],
)
async def test_whole_answers_hear_nothing(soon, engine, made, path, body):
    soon.lanes.answers = [engine()]

    answer = await soon.post(path, body, key="acme")

    assert answer.status_code == 200 and answer.json()["usage"] and not made
    assert answer.headers["content-type"] == "application/json"


async def test_an_engine_that_answers_a_stream_whole(soon, engine):
    """The client reads events by then: it gets one."""
    gate = asyncio.Event()
    answer = engine()
    answer.parts.insert(0, gate)
    soon.lanes.answers = [answer]
    client = Listener(soon)
    await client.comments(1)
    gate.set()
    await client.end()

    assert client.said.startswith(b"data: {") and client.said.endswith(b"}\n\n")
    assert json.loads(client.said[6:])["usage"]["completion_tokens"] == 3


async def test_a_client_with_bytes_to_read_gets_no_comment(soon, stream):
    """Neither does one wait beside an event that waits, to come after the end."""
    gate = asyncio.Event()
    soon.lanes.answers = [stream(TOKEN, gate, TOKEN, DONE)]
    client = Listener(soon)
    await client.comments(1)
    client.reads.clear()
    gate.set()
    await client.waits.wait()
    count = len(client.bodies)
    client.waits.clear()
    # The timer has tried while an event waits.
    await client.waits.wait()

    assert len(client.bodies) == count
    client.reads.set()
    await client.end()
    assert client.said == TOKEN + TOKEN + DONE


async def test_the_head_is_said_once_when_the_first_event_waits_for_the_client(soon, stream):
    """The relay's head is on its way: the timer sends neither another nor a comment before it."""
    gate = asyncio.Event()
    soon.lanes.answers = [stream(gate, TOKEN, DONE)]
    client = Listener(soon)
    client.reads.clear()
    # The timer's own head would have to wait, so it was not sent.
    await client.waits.wait()
    assert client.head is None
    gate.set()
    await until(
        lambda: soon.count("pointsman_time_to_first_token_seconds_count", lane="chat", tier="paid")
    )
    begun = time.monotonic()
    await until(lambda: time.monotonic() - begun > 3 * EVERY_S)
    client.reads.set()
    await client.end()

    assert client.status == 200 and client.bodies[0] == TOKEN
    assert client.said == TOKEN + DONE


async def test_events_held_back_under_a_ceiling_are_waited_for_aloud(soon, stream):
    """The engine is done; what is left comes at the tenant's pace, a tenth of a second apart."""
    with_ceilings(soon, tokens_per_second=10)
    soon.lanes.answers = [stream(TOKEN * 12, DONE)]
    client = Listener(soon)
    await client.comments(1)
    assert client.said.startswith(TOKEN) and not client.said.endswith(DONE)
    await client.end()

    assert client.said == TOKEN * 12 + DONE


async def test_a_fault_of_our_own_after_the_head_ends_the_stream_in_form(
    soon, stream, monkeypatch, caplog
):
    gate = asyncio.Event()

    async def choose(*_):
        await gate.wait()
        raise ZeroDivisionError

    monkeypatch.setattr(soon.lanes, "choose", choose)
    client = Listener(soon)
    await client.comments(1)
    gate.set()
    await client.end()

    assert client.is_over and client.error["code"] == "no_replica"
    assert codes(soon) == {"500": 1.0} and "failed in its stream" in caplog.text
    assert soon.reserved() == 0


async def test_a_comment_that_cannot_be_sent_is_the_last(soon, stream, caplog):
    """The request goes on: its own sends meet what is wrong, and are answered for."""
    gate = asyncio.Event()
    soon.lanes.answers = [stream(gate, TOKEN, DONE)]
    client = Listener(soon)
    client.fault = RuntimeError("no")
    await until(lambda: "cannot be kept alive" in caplog.text)
    client.fault = None
    gate.set()
    await client.end()

    assert client.bodies == [TOKEN, DONE, b""] and codes(soon) == {"200": 1.0}


@pytest.mark.parametrize(
    "parts",
    [[TOKEN, DONE], [BrokenConnection("cut")], [TOKEN, BrokenConnection("cut")]],
    ids=["whole", "refused", "broken"],
)
async def test_nothing_follows_the_last_bytes(soon, stream, caplog, parts):
    """However long the server takes to be done with them."""
    gate = asyncio.Event()
    soon.lanes.answers = [stream(gate, *parts), *(stream(*parts) for _ in range(2))]
    client = Listener(soon, {**STREAMED, "presence_penalty": 1})
    client.linger_s = 5 * EVERY_S
    await client.comments(1)
    gate.set()
    await client.end()

    assert client.is_over and client.bodies[-1] != COMMENT
    assert "cannot be kept alive" not in caplog.text


async def test_chats_on_a_socket_get_their_chunks_and_no_comments():
    """A socket has pings of its own."""
    from tests.unit.serve_app.socket_world import SocketWorld, text_of

    async with SocketWorld(ttft_s=0.1) as sockets:
        for ingress in sockets.ingresses:
            with_keepalive(ingress, EVERY_S)
        client = await sockets.connect()
        client.chat("a", tokens=5)
        frames = await client.until_end("a")

    assert [frame["type"] for frame in frames[-1:]] == ["done"]
    assert len(text_of(frames).split()) == 5
    assert all(frame["data"]["choices"] for frame in frames[:-1])
