"""The least that a Serve deployment can do with a request: pass it on.

No keys, no parsing, no choice, no accounts: whatever a router written as a Serve
deployment does comes on top of what this costs. It has what Pointsman's relay has under
it: HAProxy, Serve's own path to the replica, uvloop, and the client of
`serve_app.transport.upstream`, which hands bytes on in the connection's callback.

    python -m benchmarks.peers.serve_relay --port 8000 --engine http://127.0.0.1:18400

HAProxy stands before it where the environment says so, as for `ray_ingress`.
"""

from __future__ import annotations

import argparse
import contextlib
import math
from typing import Any

from ray import serve

from benchmarks.peers.serving import serve_until_interrupted
from serve_app.config.serving import TimeoutConfig
from serve_app.transport.upstream import Response, Upstream


class PassOn:
    """An ASGI application: each request goes to one engine, and its answer comes back."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        timeouts = TimeoutConfig(connect_s=5, read_s=60, probe_after_s=math.inf)
        self._upstream = Upstream({"content-type": "application/json"}, timeouts)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "GET":
            await _answer(send, 200, b"application/json")
            await send({"type": "http.response.body", "body": b"{}"})
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        response = await self._upstream.post(self._engine, scope["path"], body, {})
        with contextlib.closing(response):
            await _answer(send, response.status, response.headers["content-type"].encode())
            await _pass_on(response, send)
        await send({"type": "http.response.body", "body": b""})


async def _answer(send: Any, status: int, kind: bytes) -> None:
    headers = [(b"content-type", kind)]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _pass_on(response: Response, send: Any) -> None:
    def step(chunk: bytes) -> bool:
        sending = send({"type": "http.response.body", "body": chunk, "more_body": True})
        try:
            sending.send(None)
        except StopIteration:
            return True
        raise RuntimeError("the load generator does not read")

    await response.deliver_to(step)


@serve.ingress()
class Relay:
    """One replica of the application."""

    def __init__(self, engine: str) -> None:
        self._app = PassOn(engine)

    def __serve_build_asgi_app__(self) -> PassOn:
        """Called by Serve once, on the replica's event loop."""
        return self._app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--engine", required=True, help="base URL")
    options = parser.parse_args()
    # Not this module, which is `__main__` here: replicas import it by its name.
    from benchmarks.peers import serve_relay  # noqa: PLW0406

    deployment = serve.deployment(
        num_replicas=1, ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=10_000
    )
    relay = deployment(serve_relay.Relay).bind(options.engine)
    serve_until_interrupted(relay, "serve-relay", "127.0.0.1", options.port)


if __name__ == "__main__":
    main()
