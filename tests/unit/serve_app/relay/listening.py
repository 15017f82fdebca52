"""A client of a gateway that hears every message as it comes."""

import asyncio
import contextlib
import dataclasses
import json

from serve_app.relay.keepalive import COMMENT

CHAT = "/v1/chat/completions"
ASK = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5}
STREAMED = {**ASK, "stream": True}
WAIT_S = 10


def with_keepalive(world, keepalive_s) -> None:
    """The world with another longest silence."""
    policies = world.state.policies
    timeouts = policies.fleet.timeouts.model_copy(update={"keepalive_s": keepalive_s})
    fleet = policies.fleet.model_copy(update={"timeouts": timeouts})
    world.state.apply(dataclasses.replace(policies, fleet=fleet))


class Listener:
    """One request, under way from the start.

    Attributes:
        bodies: what came after the head, message by message.
        fault: what every send raises.
        linger_s: how long the last send takes after its bytes are out.
        reads: while it is clear, every send waits, as it does for a client that is slow.

    """

    def __init__(self, world, body=STREAMED, key="acme", path=CHAT, **headers) -> None:
        self.head = None
        self.bodies: list[bytes] = []
        self.is_over = False
        self.fault: Exception | None = None
        self.linger_s = 0.0
        self.reads = asyncio.Event()
        self.reads.set()
        self.waits = asyncio.Event()
        self._raw = json.dumps(body).encode()
        bearer = {"authorization": f"Bearer {world.keys[key]}", **headers}
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": [(k.encode(), v.encode()) for k, v in bearer.items()],
            "client": ("127.0.0.1", 1),
        }
        self.task = asyncio.create_task(world.gateway(scope, self._receive, self.send))
        self._change = asyncio.Event()

    async def _receive(self):
        return {"type": "http.request", "body": self._raw}

    async def send(self, message) -> None:
        """As uvicorn does: wait for the client first, then write at once."""
        if self.fault is not None:
            raise self.fault
        if not self.reads.is_set():
            self.waits.set()
            await self.reads.wait()
        if message["type"] == "http.response.start":
            assert self.head is None
            self.head = message
        else:
            assert self.head is not None and not self.is_over
            self.bodies.append(message["body"])
            self.is_over = not message.get("more_body")
        self._change.set()
        if self.is_over:
            await asyncio.sleep(self.linger_s)

    async def until(self, check) -> None:
        """Wait until something holds of what has come."""
        async with asyncio.timeout(WAIT_S):
            while not check():
                self._change.clear()
                await self._change.wait()

    async def comments(self, count) -> None:
        """Wait until so many have come."""
        await self.until(lambda: self.bodies.count(COMMENT) >= count)

    async def end(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.task

    async def leave(self) -> None:
        """As Serve tells it: the request's task is cancelled."""
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    @property
    def status(self) -> int:
        return self.head["status"]

    @property
    def headers(self) -> dict[str, str]:
        return {k.decode(): v.decode() for k, v in self.head["headers"]}

    @property
    def said(self) -> bytes:
        """All but comments."""
        return b"".join(body for body in self.bodies if body != COMMENT)

    @property
    def error(self) -> dict:
        """The error of a stream's only event."""
        (data,) = [line for line in self.said.split(b"\n") if line.startswith(b"data: ")]
        return json.loads(data[6:])["error"]
