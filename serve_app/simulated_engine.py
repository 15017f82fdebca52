"""A small stand-in for an engine, for tests and for measuring the ingress.

It speaks vLLM's HTTP surface as far as the ingress uses it, with fixed timing.
Everything it says contains the word `simulated`. Control words in the newest
user message make it misbehave: `[break]` cuts the stream after three tokens,
`[hang]` never answers, `[fail]` answers 500.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from serve_app.endpoint import Message, Receive, Scope, Send

BYTES_PER_TOKEN = 4
_SSE = [(b"content-type", b"text/event-stream; charset=utf-8")]
_JSON = [(b"content-type", b"application/json")]


class SimulatedEngineApp:
    """ASGI app: chat, completions, messages, responses, tokens and `/metrics`."""

    def __init__(self, model_id: str, window_tokens: int, ttft_s: float, itl_s: float) -> None:
        self._model_id = model_id
        self._window_tokens = window_tokens
        self._ttft_s = ttft_s
        self._itl_s = itl_s
        self.running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, until it ends or its client leaves."""
        path = scope["path"]
        if path.startswith("/metrics"):
            await _respond(send, 200, self._metrics(), [(b"content-type", b"text/plain")])
            return
        raw = await _read_body(receive)
        self.running += 1
        disconnected = asyncio.ensure_future(_disconnect(receive))
        work = asyncio.ensure_future(self._answer(path, raw, send))
        try:
            await asyncio.wait({disconnected, work}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            disconnected.cancel()
            work.cancel()
            self.running -= 1

    async def _answer(self, path: str, raw: bytes, send: Send) -> None:
        body = orjson.loads(raw)
        prompt_tokens = len(raw) // BYTES_PER_TOKEN
        words = _newest_text(body)
        if path.endswith("/count_tokens"):
            await _respond_json(send, 200, {"input_tokens": prompt_tokens})
        elif "[fail]" in words:
            await _respond_json(send, 500, {"error": {"message": "simulated fault", "code": 500}})
        elif prompt_tokens > self._window_tokens:
            message = f"This model's maximum context length is {self._window_tokens} tokens."
            await _respond_json(send, 400, {"error": {"message": message, "code": 400}})
        else:
            if "[hang]" in words:
                await asyncio.sleep(3600)
            await asyncio.sleep(self._ttft_s)
            await self._generate(path, body, prompt_tokens, send, breaks="[break]" in words)

    async def _generate(
        self, path: str, body: dict[str, Any], prompt_tokens: int, send: Send, *, breaks: bool
    ) -> None:
        count = _output_tokens(body)
        usage = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": count,
            "total_tokens": prompt_tokens + count,
        }
        if not body.get("stream"):
            await asyncio.sleep(self._itl_s * count)
            await _respond_json(send, 200, self._whole(path, "simulated " * count, usage))
            return
        await send({"type": "http.response.start", "status": 200, "headers": _SSE})
        chunk = self._chunk("simulated ")
        for index in range(count):
            if breaks and index == 3:
                raise ConnectionAbortedError("simulated cut")
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await asyncio.sleep(self._itl_s)
        tail = self._chunk("", finish="stop")
        if (body.get("stream_options") or {}).get("include_usage"):
            tail += _event({"object": "chat.completion.chunk", "choices": [], "usage": usage})
        await send({"type": "http.response.body", "body": tail + b"data: [DONE]\n\n"})

    def _chunk(self, text: str, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
        return _event(
            {
                "id": "chatcmpl-simulated",
                "object": "chat.completion.chunk",
                "created": 0,
                "model": self._model_id,
                "choices": [choice],
            }
        )

    def _whole(self, path: str, text: str, usage: dict[str, int]) -> dict[str, Any]:
        if path == "/v1/messages":
            tokens = {
                "input_tokens": usage["prompt_tokens"],
                "output_tokens": usage["completion_tokens"],
            }
            content = [{"type": "text", "text": text}]
            return {
                "id": "msg_simulated",
                "type": "message",
                "role": "assistant",
                "model": self._model_id,
                "content": content,
                "stop_reason": "end_turn",
                "usage": tokens,
            }
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "text": text,
            "finish_reason": "stop",
        }
        return {
            "id": "chatcmpl-simulated",
            "object": "chat.completion",
            "created": 0,
            "model": self._model_id,
            "choices": [choice],
            "usage": usage,
        }

    def _metrics(self) -> bytes:
        labels = f'{{model_name="{self._model_id}",engine="simulated"}}'
        return (
            "# HELP vllm:num_requests_running Number of requests running (simulated).\n"
            "# TYPE vllm:num_requests_running gauge\n"
            f"vllm:num_requests_running{labels} {self.running}\n"
        ).encode()


def _output_tokens(body: dict[str, Any]) -> int:
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        if body.get(name) is not None:
            return int(body[name])
    return 16


def _newest_text(body: dict[str, Any]) -> str:
    messages = body.get("messages") or [{"content": body.get("prompt") or body.get("input")}]
    return str(messages[-1].get("content"))


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


async def _respond_json(send: Send, status: int, body: dict[str, Any]) -> None:
    await _respond(send, status, orjson.dumps(body), _JSON)


async def _respond(
    send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _read_body(receive: Receive) -> bytes:
    parts = []
    while True:
        message: Message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
