"""What a client of a stream hears while its summary is written."""

import asyncio
import json

from benchmarks.support.agent_bodies import DIALECTS
from serve_app.relay.keepalive import COMMENT
from tests.unit.serve_app.agents.answers import Answer, stream
from tests.unit.serve_app.conftest import FakeResponse
from tests.unit.serve_app.relay.listening import Listener, with_keepalive
from tests.unit.serve_app.summaries.summaries import CHAT, every_dialect, long, written

TOLD = b": x-pointsman-tool-results: "


def streaming(made, path) -> None:
    """Have the lane stream its answers."""
    whole = made.lanes.open

    async def open_(replica, path_, body, headers):
        if json.loads(body).get("stream"):
            made.lanes.sent.append(json.loads(body))
            return FakeResponse(*stream(path, Answer(["Done."])), content_type="text/event-stream")
        return await whole(replica, path_, body, headers)

    made.lanes.open = open_


@every_dialect
async def test_it_hears_comments_and_then_what_was_changed(replicas, path):
    """The head is out before it is known, so a comment tells."""
    made = replicas()
    with_keepalive(made.world, 0.01)
    streaming(made, path)
    gate = asyncio.Event()

    async def slow():
        await gate.wait()
        return written("Slowly.")

    made.lanes.writes = lambda _: slow()
    body = {**DIALECTS[path]([[["read", {}, long("a")]]]), "stream": True}
    client = Listener(made.world, body, path=path)
    await client.until(lambda: COMMENT in client.bodies)
    assert b"x-pointsman-tool-results" not in dict(client.head["headers"])
    assert dict(client.head["headers"])[b"x-pointsman-lane"] == b"chat"
    gate.set()
    await client.task

    told = [x for x in client.bodies if x.startswith(TOLD)]
    assert len(told) == 1 and told[0].startswith(TOLD + b"summarised; results=1; tokens=")
    assert told[0].endswith(b"\n\n") and told[0].count(b"\n\n") == 1
    assert client.bodies.index(told[0]) < len(client.bodies) - 1
    assert b"Done." in b"".join(client.bodies)
    assert "Slowly." in json.dumps(made.prompt)


async def test_a_quick_one_is_told_in_the_head(replicas):
    made = replicas()
    streaming(made, CHAT)
    body = {**DIALECTS[CHAT]([[["read", {}, long("a")]]]), "stream": True}

    client = Listener(made.world, body)
    await client.task

    assert dict(client.head["headers"])[b"x-pointsman-tool-results"].startswith(b"summarised")
    assert TOLD not in b"".join(client.bodies)


async def test_a_summarys_request_is_of_its_requests_trace(replicas):
    """Else an engine that traces would begin a trace of its own for each."""
    made = replicas()
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"

    await made.ask(CHAT, [[["read", {}, long("a")]]], headers={"traceparent": parent})

    (asked,) = made.lanes.asked_for
    assert asked.headers["traceparent"] == parent
