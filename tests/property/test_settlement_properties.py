"""Settled is what the engine did: streams and whole answers that end, break off or are left."""

import asyncio
import contextlib
import dataclasses
import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from router.limits.quota import TokenWeights
from serve_app.config.tenants import TenantsConfig
from serve_app.transport.upstream import BrokenConnection
from tests.examples import examples
from tests.unit.serve_app.conftest import TIERS, FakeResponse, World

LIMIT = 100
"""A minute's tokens: so few that streams outgrow what they reserved."""
PROMPT = 21
ROUTES = {
    "/v1/chat/completions": ("messages", [{"role": "user", "content": "Say hi."}]),
    "/v1/completions": ("prompt", "Count:"),
    "/v1/messages": ("messages", [{"role": "user", "content": "Say hi."}]),
    "/v1/responses": ("input", "Say hi."),
}
DONE = b"data: [DONE]\n\n"


def event(data, name=None) -> bytes:
    head = b"" if name is None else b"event: %b\n" % name.encode()
    return head + b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def openai(tokens: list[int], completion: int, *, ids: bool) -> list[bytes]:
    """Events of so many tokens each, and the closing count."""
    events = []
    for count in tokens:
        choice = {"index": 0, "delta": {"content": "x"}, "text": "x"}
        if ids:
            choice["token_ids"] = list(range(count))
        events.append(event({"choices": [choice]}))
    usage = {"prompt_tokens": PROMPT, "completion_tokens": completion}
    return [*events, event({"choices": [], "usage": usage}) + DONE]


def anthropic(tokens: list[int], completion: int) -> list[bytes]:
    """The prompt is told at once, with what the cache had of it at the end."""
    start = {"type": "message_start", "message": {"usage": {"input_tokens": PROMPT}}}
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}}
    usage = {"input_tokens": PROMPT - 16, "cache_read_input_tokens": 16,
             "output_tokens": completion}  # fmt: skip
    return [
        event(start, "message_start"),
        *(event(delta, "content_block_delta") for _ in tokens),
        event({"type": "message_delta", "usage": usage}, "message_delta"),
        event({"type": "message_stop"}, "message_stop"),
    ]


def responses(tokens: list[int], completion: int) -> list[bytes]:
    delta = {"type": "response.output_text.delta", "delta": "x"}
    usage = {"input_tokens": PROMPT, "output_tokens": completion}
    closing = {"type": "response.completed", "response": {"usage": usage}}
    return [
        *(event(delta, "response.output_text.delta") for _ in tokens),
        event(closing, "response.completed"),
    ]


def whole(path: str, completion: int) -> bytes:
    """An answer in one piece."""
    usage = {"input_tokens": PROMPT, "output_tokens": completion}
    if path == "/v1/messages":
        usage |= {"input_tokens": PROMPT - 16, "cache_read_input_tokens": 16}
    elif path != "/v1/responses":
        usage = {"prompt_tokens": PROMPT, "completion_tokens": completion}
    return json.dumps({"id": "1", "choices": [], "usage": usage}).encode()


class Case:
    """One request against a tenant of its own, without anything refilling."""

    def __init__(self, folder: str, weights: TokenWeights) -> None:
        self.world = World(Path(folder))
        tenants = self.world.tenants.model_dump(exclude_unset=True)
        given = {"tokens_per_minute": LIMIT, "tokens_per_day": 10**6,
                 "weights": dataclasses.asdict(weights)}  # fmt: skip
        tiers = {**TIERS, "paid": {"ceilings": given}}
        config = TenantsConfig.model_validate({**tenants, "tiers": tiers})
        auth = type(self.world.state.policies.auth)(config, "quality", None)
        self.world.state.apply(dataclasses.replace(self.world.state.policies, auth=auth))
        self.tenant = auth.tenant("acme")
        self.ceiling = self.world.state.ceiling(self.tenant)
        self.ceiling.tokens._rate = 1e-12

    def close(self) -> None:
        world = self.world
        for part in (world.recorder, world.store, world.meter, world.tenancy):
            part.close()

    def settled(self) -> float:
        return LIMIT - self.ceiling.tokens.level(now=0.0)

    def counted(self) -> tuple[int, int]:
        """Prompt and completion tokens in the usage log."""
        counts = list(self.world.meter.pending.values())
        return sum(x.prompt for x in counts), sum(x.completion for x in counts)

    async def run(self, path: str, body: dict, answer: FakeResponse, leaves: int | None) -> int:
        """Ask, and leave after so many parts of the answer; returns the parts that came."""
        came = asyncio.Event()
        parts: list[bytes] = []

        async def receive():
            return {"type": "http.request", "body": json.dumps(body).encode()}

        async def send(message):
            if message["type"] == "http.response.body":
                parts.append(message["body"])
                if leaves is not None and len(parts) > leaves:
                    came.set()
                    await asyncio.Event().wait()

        self.world.lanes.answers = [answer, FakeResponse(BrokenConnection(), status=200)]
        key = self.world.keys["acme"].encode()
        scope = {"type": "http", "method": "POST", "path": path, "client": ("127.0.0.1", 1),
                 "headers": [(b"authorization", b"Bearer " + key)]}  # fmt: skip
        asking = asyncio.ensure_future(self.world.gateway(scope, receive, send))
        leaving = asyncio.ensure_future(came.wait())
        await asyncio.wait({asking, leaving}, return_when=asyncio.FIRST_COMPLETED)
        asking.cancel()
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        return len(parts)


weights = st.sampled_from((TokenWeights(), TokenWeights(1.0, 1.0, 4.0), TokenWeights(1.0, 1.0, 0)))


@examples(120)
@given(
    path=st.sampled_from(sorted(ROUTES)),
    tokens=st.lists(st.integers(1, 9), min_size=1, max_size=60),
    wish=st.sampled_from((None, 5, 300, 3_500, 32_000)),
    is_stream=st.booleans(),
    ids=st.booleans(),
    ending=st.sampled_from(("whole", "whole", "left", "broken")),
    weighted=weights,
    data=st.data(),
)
def test_what_is_settled_is_what_the_engine_counted(
    path, tokens, wish, is_stream, ids, ending, weighted, data
):
    """Where it did not come to say: the prompt's estimate, and what was passed on."""
    name, text = ROUTES[path]
    completion = sum(tokens)
    if path in ("/v1/messages", "/v1/responses"):
        make = anthropic if path == "/v1/messages" else responses
        events = make(tokens, completion)
    else:
        events = openai(tokens, completion, ids=ids)
    if not is_stream:
        ending, events = "whole", [whole(path, completion)]
    leaves = None
    if ending == "left":
        leaves = data.draw(st.integers(0, max(0, len(tokens) - 1)), label="leaves after")
    if ending == "broken":
        events = [*events[: data.draw(st.integers(1, len(tokens)), label="breaks after")],
                  BrokenConnection()]  # fmt: skip
    kind = "text/event-stream" if is_stream else "application/json"
    body = {name: text, "stream": is_stream}
    if wish is not None:
        body["max_output_tokens" if path == "/v1/responses" else "max_tokens"] = wish
    if ending != "whole" and is_stream:
        # It cannot go on elsewhere.
        body |= {"presence_penalty": 1.0}

    async def once(case):
        return await case.run(path, body, FakeResponse(*events, content_type=kind), leaves)

    with tempfile.TemporaryDirectory() as folder:
        case = Case(folder, weighted)
        try:
            asyncio.run(once(case))
            prompt, answered = case.counted()
            settled, reserved = case.settled(), case.world.meter.reserved
            state = case.world.state
        finally:
            case.close()

    assert (case.ceiling.reserved, case.ceiling.running, reserved) == (0, 0, {})
    assert state.presence.active() == {}
    assert abs(settled - weighted.weigh(prompt, 0, answered)) < 1
    if ending == "whole":
        assert (prompt, answered) == (PROMPT, completion)
    elif ending == "left":
        assert answered <= completion
