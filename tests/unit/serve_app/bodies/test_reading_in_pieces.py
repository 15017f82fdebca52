"""No body, however it is made, holds the event loop for long."""

import asyncio
import gc
import json
import math
import time

import orjson
import pytest

from router.stable_text import stable_text
from router.stable_text.stable_text import MAX_BLOCKS, MAX_LINES, own_words
from serve_app.bodies import opening
from serve_app.bodies.body_bounds import DEFAULTS
from serve_app.bodies.media_urls import SLICE, looking_for_media
from serve_app.bodies.opening import MAX_FIRST_TURNS, opening_of
from serve_app.bodies.parsed_request import ParsedRequest, parse, reading
from serve_app.bodies.prefixes import MAX_PREFIX_BYTES, prefix_of
from serve_app.bodies.routes import ROUTES
from serve_app.bodies.steps import at_once
from serve_app.bodies.tool_rules import are_responses_tools
from serve_app.protocol import encodings
from serve_app.protocol.encodings import MAX_MEMBERS, SLICE_BYTES, decode
from tests.unit.serve_app.bodies.test_body_bounds import HEAVY, many, set_limits
from tests.unit.serve_app.conftest import with_tier

pytestmark = pytest.mark.security


CHAT = "/v1/chat/completions"


def most_of(unit: str, head: str, tail: str, weight: int) -> bytes:
    """As much of a kind as may be read."""
    return many(unit, DEFAULTS.max_values * 9 // 10 // weight, head, tail)


HI = '"messages":[{"role":"user","content":"hi"}]'


LARGEST = {
    "arrays": (CHAT, most_of("[]", f'{{{HI},"a":[', "]}", 5)),
    "numbers": ("/v1/completions", most_of("12345", '{"prompt":[', "]}", 1)),
    "messages": (CHAT, many('{"role":"user","content":"a"}', 9_900, '{"messages":[')),
    "parts": (CHAT, many('{"type":"text","text":"a"}', 9_900,
                         '{"messages":[{"role":"user","content":[', "]}]}")),
    "line breaks": (CHAT, orjson.dumps(
        {"messages": [{"role": "user", "content": "\n" * 2_000_000}]})),
    "tags": (CHAT, orjson.dumps(
        {"messages": [{"role": "user", "content": "<env></env>" * 300_000}]})),
    "turns of tags": (CHAT, many('{"role":"user","content":"<env>1</env>"}', 9_900,
                                 '{"messages":[')),
    "system prompt of lines": (CHAT, orjson.dumps({"messages": [
        {"role": "system", "content": "a 1\n" * 900_000}, {"role": "user", "content": "hi"}]})),
    "items": ("/v1/responses", many('{"role":"user","content":"a"}', 9_900, '{"input":[')),
}  # fmt: skip


async def longest_hold(world, path, raw) -> float:
    """Of this thread's own time: what others do on the machine does not count."""
    spans, run = [], asyncio.Handle._run

    def timed(handle):
        begun = time.thread_time()
        run(handle)
        spans.append(time.thread_time() - begun)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.Handle, "_run", timed)
        async with world.client(key="acme") as client:
            await asyncio.create_task(client.post(path, content=raw))
    return max(spans)


def reference_s() -> float:
    """What this machine takes to read 200,000 short arrays and nothing more: some 15 ms."""
    raw, taken = many("[[1]]", 100_000), []
    for _ in range(3):
        begun = time.thread_time()
        orjson.loads(raw)
        taken.append(time.thread_time() - begun)
    return min(taken)


@pytest.mark.parametrize("kind", [*LARGEST, *(f"too many {name}" for name in HEAVY)])
async def test_no_body_holds_the_loop_for_long(world, engine, kind):
    """With a wide margin; `make bench-bodies` has the figures. It was 20 to 80 times as long."""
    path, raw = LARGEST[kind] if kind in LARGEST else (CHAT, HEAVY[kind.removeprefix("too many ")])
    set_limits(world, max_body_bytes=DEFAULTS.max_body_bytes, body_timeout_s=30)
    with_tier(world, history={"high_tokens": 2000})
    gc.collect()
    bound_s, holds = 5 * reference_s(), []
    # Three times at most: the shortest counts.
    while len(holds) < 3 and min(holds, default=math.inf) > bound_s:
        world.lanes.answers.append(engine())
        holds.append(await longest_hold(world, path, raw))

    assert min(holds) <= bound_s


def chat(*messages, **more) -> ParsedRequest:
    parsed = parse(orjson.dumps({"messages": list(messages), **more}), ROUTES[CHAT])
    assert isinstance(parsed, ParsedRequest)
    return parsed


def test_of_a_system_prompt_so_many_lines_are_looked_at(monkeypatch):
    """The rest counts without its digits."""
    seen, may_change = [], stable_text._may_change
    monkeypatch.setattr(stable_text, "_may_change", lambda *x: seen.append(x) or may_change(*x))

    left = stable_text._stable("at 10:04\n" * 10_000 + "b 2")

    assert len(seen) == MAX_LINES
    assert left.endswith("at :\nb ")


def test_digits_are_left_out_of_the_rest_and_nothing_else():
    """In any script."""
    text = "a" * stable_text.MAX_CHARS + "ä1 \U0001f600 2\ud800 ٣ 3"

    assert stable_text.stable_text(text).endswith("ä \U0001f600 \ud800 ٣ ")


def test_of_a_turn_so_many_blocks_are_left_out():
    """An agent puts in a handful."""
    left = own_words("<env>1</env>" * (MAX_BLOCKS + 5) + "Hello")

    assert left == "<env>1</env>" * 5 + "Hello"


def test_the_first_words_are_looked_for_in_so_many_turns(monkeypatch):
    """All of them before an answer, and all of an agent's making."""
    seen = []
    monkeypatch.setattr(opening, "own_words", lambda turn: seen.append(turn) or "")

    opening_of(chat(*[{"role": "user", "content": "<env>1</env>"}] * 1_000))
    few = len(seen)
    opening_of(chat(*[{"role": "user", "content": "a" * 50_000}] * 50))

    assert few == MAX_FIRST_TURNS
    assert len(seen) - few == 3


@pytest.mark.parametrize("where", ["system", "tools"])
def test_a_very_long_prefix_is_not_kept_for_new_replicas(where):
    """They have 20 s for all of them."""
    tool = {"type": "function", "function": {"name": "f", "description": "a" * MAX_PREFIX_BYTES}}
    hi = {"role": "user", "content": "hi"}
    system = {"role": "system", "content": "a" * (MAX_PREFIX_BYTES + 1)}
    long = chat(system, hi) if where == "system" else chat(hi, tools=[tool])

    assert prefix_of(long) is None
    assert prefix_of(chat({"role": "system", "content": "a" * 1000}, hi)) is not None


def test_media_are_looked_for_in_pieces():
    """Parts within lists within a part are as many as a body has values."""
    part = {"content": [{"image_url": "data:,"}]}
    body = {"messages": [{"role": "user", "content": [[[part] * 4_000]]}]}

    pieces = list(looking_for_media(body, ()))

    assert len(pieces) >= 3 * 4_000 // SLICE
    part["content"].append({"image_url": "http://10.0.0.1/"})
    assert at_once(looking_for_media(body, ())) is not None


def test_another_encoding_is_undone_in_a_piece_of_its_own():
    raw = json.dumps({"messages": [{"role": "user", "content": "hi"}]})
    route, limits = ROUTES[CHAT], DEFAULTS

    assert len(list(reading(raw.encode("utf-16"), route, limits))) == 1 + len(
        list(reading(raw.encode(), route, limits))
    )


def test_namespaces_are_looked_through_once_however_deep():
    """Not once for each level."""
    reads = []

    class Tool(dict):
        def get(self, name, default=None):
            reads.append(name)
            return super().get(name, default)

    tools = [Tool(type="function", name="f") for _ in range(100)]
    for _ in range(3_000):
        tools = [Tool(type="namespace", tools=tools)]

    assert are_responses_tools(tools) is None
    assert len(reads) <= 2 * 3_100


async def test_members_of_a_compressed_body_are_given_on_once(monkeypatch):
    """Not all that follows them again for each, which was 4 GB for 4 MiB."""
    import gzip
    import zlib

    given, decompressobj = [], zlib.decompressobj

    class Watched:
        def __init__(self, form):
            self._stream = decompressobj(form)

        def decompress(self, data, most):
            given.append(len(data))
            return self._stream.decompress(data, most)

        def __getattr__(self, name):
            return getattr(self._stream, name)

    monkeypatch.setattr(encodings.zlib, "decompressobj", Watched)
    body = json.dumps({"a": "b" * 100}).encode()
    raw = gzip.compress(b"") * (MAX_MEMBERS - 1) + gzip.compress(body, 0) + b"\0" * 1_000_000

    assert await decode(raw, ["gzip"], 2**22) == body
    assert sum(given) <= MAX_MEMBERS * SLICE_BYTES
