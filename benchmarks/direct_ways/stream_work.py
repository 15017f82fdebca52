"""What has to be done with a stream's bytes wherever they pass, by the product's own code.

An engine is asked for token ids and usage that its client did not ask for, so that a stream can
go on elsewhere and is charged by the engine's count. Who has the stream cuts them out.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.recovery.resume import Delivered
from serve_app.protocol.errors import Dialect
from serve_app.protocol.sse import EventReader
from serve_app.relay.engine_stream import FirstStream
from serve_app.relay.transcript import Transcript


def stream() -> FirstStream:
    """Return the work on one answer."""
    transcript = Transcript(Delivered(), is_chat=True, has_ids=True, shows_ids=False)
    return FirstStream(EventReader(hide_usage=True), transcript, Dialect.OPENAI)


class Working:
    """ASGI middleware for a lane's process: the same work there, on streams only."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = stream()
        is_stream = False

        async def told(message: Message) -> None:
            nonlocal is_stream
            if message["type"] == "http.response.start":
                is_stream = (b"content-type", b"text/event-stream") in message["headers"]
            elif is_stream and message.get("body"):
                is_last = not message.get("more_body")
                out = work.feed(message["body"])
                if not (out or is_last):
                    return
                message = {**message, "body": out}
            await send(message)

        await self._app(scope, receive, told)
