"""What a body may hold is counted on its bytes, before anything is made of them."""

import gzip
import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.errors import Rejected, RejectReason
from serve_app.bodies import body_bounds, json_body
from serve_app.bodies.body_bounds import DEFAULTS, weigh
from serve_app.bodies.json_body import SLOW_BYTES, loading
from serve_app.bodies.parsed_request import ParsedRequest, parse, reading
from serve_app.bodies.routes import ROUTES
from serve_app.bodies.steps import at_once
from serve_app.config.serving import LimitsConfig

pytestmark = pytest.mark.security

CHAT, COMPLETIONS = ROUTES["/v1/chat/completions"], ROUTES["/v1/completions"]
HI = '"messages":[{"role":"user","content":"hi"}]'
MOST = DEFAULTS.max_values

texts = st.text(st.sampled_from('a"\\,[{]}:é\n\U0001f600'), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**6) | st.floats(-1e9, 1e9) | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=30,
)


def weight_of(value) -> int:
    """By the rule, of what was read."""
    if isinstance(value, dict):
        inner = sum(4 + weight_of(x) for x in value.values())
    elif isinstance(value, list):
        inner = sum(map(weight_of, value))
    else:
        return 4 if isinstance(value, str) else 0
    return 4 + inner + max(0, len(value) - 1)


@given(value=values, slice_bytes=st.integers(1, 9), indent=st.sampled_from([None, 1]))
@example('\\\\"[[[[', 1, None)
def test_values_are_weighed_as_they_will_be_read(value, slice_bytes, indent):
    """Wherever the slices are cut; what is within a text weighs nothing."""
    raw = json.dumps({"a": value}, indent=indent).encode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body_bounds, "SLICE_BYTES", slice_bytes)
        assert at_once(weigh(raw, 10**9)) == weight_of({"a": value})


def many(unit: str, count: int, head: str = f'{{{HI},"a":[', tail: str = "]}") -> bytes:
    return (head + ",".join([unit] * count) + tail).encode()


HEAVY = {
    "arrays": many("[]", 800_000),
    "objects": many("{}", 800_000),
    "nested": many("[" * 150 + "]" * 150, 1_000),
    "texts": many('"a"', 500_000),
    "names": many('"a":0', 500_000, f"{{{HI},", "}"),
    "numbers": many("7", 1_000_000),
    "messages": many('{"role":"user","content":"a"}', 100_000, '{"messages":['),
    "parts": many('{"type":"text","text":"a"}', 100_000,
                  '{"messages":[{"role":"user","content":[', "]}]}"),
    "tools": many('{"type":"function","function":{"name":"f"}}', 50_000, f'{{{HI},"tools":['),
    "no JSON": b'{"a":' + b"[" * 1_000_000,
    "UTF-16": many("[]", 400_000).decode().encode("utf-16"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HEAVY)
def test_a_body_of_too_many_values_is_refused_before_it_is_read(kind, monkeypatch):
    """Each of them within `max_body_bytes`."""
    assert len(HEAVY[kind]) <= DEFAULTS.max_body_bytes
    monkeypatch.setattr(json_body.orjson, "loads", lambda _: pytest.fail("it was read"))

    refused = parse(HEAVY[kind], CHAT)

    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.INVALID_REQUEST
    assert "limits.max_values" in refused.message and str(MOST) in refused.message


PASTED = json.dumps([{"id": number, "tags": ["a", "b", {}]} for number in range(60_000)])


@pytest.mark.parametrize(
    "text",
    [PASTED, "[]{},\"'" * 200_000, "\\" * 1_000_000, '\\"' * 500_000, "\n" * 2_000_000],
    ids=["a log in JSON", "marks", "backslashes", "escaped quotes", "line breaks"],
)
def test_what_is_within_a_text_is_text(text):
    """Code and logs are full of brackets and commas."""
    parsed = parse(orjson.dumps({"messages": [{"role": "user", "content": text}]}), CHAT)

    assert isinstance(parsed, ParsedRequest)
    assert parsed.prompt.users == (text,)


@pytest.mark.parametrize(
    ("body", "route"),
    [
        ({"prompt": [list(range(2_000))] * 128}, COMPLETIONS),
        ({"prompt": list(range(131_072))}, COMPLETIONS),
        ({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "iVBO" * 10**6}},
            {"type": "text", "text": "What is it?"}]}]}, CHAT),
        ({"messages": [{"role": "user", "content": "a " * 200}] * 8_000}, CHAT),
    ],
    ids=["a batch of token ids", "a context of token ids", "an image", "8,000 messages"],
)  # fmt: skip
def test_large_bodies_of_honest_work_are_read(body, route):
    """The defaults leave them room."""
    raw = orjson.dumps(body)
    assert len(raw) <= DEFAULTS.max_body_bytes

    assert isinstance(parse(raw, route), ParsedRequest)


def test_the_bound_is_exact():
    """At the bound a body is read, and one value more is refused."""
    raw = b'{"messages":[{"role":"user","content":"hi"}],"a":[[],1,2,3,4]}'
    weight = weight_of(orjson.loads(raw))
    limits = DEFAULTS.model_copy(update={"max_values": weight})

    assert isinstance(at_once(reading(raw, CHAT, limits)), ParsedRequest)
    more = raw.replace(b"4]", b"4,5]")
    refused = at_once(reading(more, CHAT, limits))
    assert isinstance(refused, Rejected) and f"at most {weight}" in refused.message


MESSAGE = {"role": "user", "content": "a"}
PARTS = [{"type": "text", "text": "a"}] * 3
CALLS = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}] * 3


@pytest.mark.parametrize(
    ("path", "body", "param", "bound"),
    [
        ("/v1/chat/completions", {"messages": [MESSAGE] * 6}, "messages", "max_messages"),
        ("/v1/messages", {"messages": [MESSAGE] * 6}, "messages", "max_messages"),
        ("/v1/messages/count_tokens", {"messages": [MESSAGE] * 6}, "messages", "max_messages"),
        ("/v1/responses", {"input": [MESSAGE] * 6}, "input", "max_messages"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": PARTS}] * 3},
         "messages", "max_parts"),
        ("/v1/chat/completions", {"messages": [{"role": "assistant", "tool_calls": CALLS}] * 3},
         "messages", "max_parts"),
        ("/v1/messages", {"messages": [{"role": "user", "content": PARTS}] * 3},
         "messages", "max_parts"),
        ("/v1/responses", {"input": [{"role": "user", "content": PARTS}] * 3},
         "input", "max_parts"),
    ],
)  # fmt: skip
def test_messages_and_their_parts_are_bounded(path, body, param, bound):
    """By their own settings, on every route that has them."""
    limits = LimitsConfig(max_messages=5, max_parts=8)
    raw = orjson.dumps(body)

    refused = at_once(reading(raw, ROUTES[path], limits))

    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.param) == (RejectReason.INVALID_REQUEST, param)
    assert f"limits.{bound}" in refused.message
    assert isinstance(parse(raw, ROUTES[path]), ParsedRequest)


@pytest.mark.parametrize("ending", ['"\\ud83d"', "1e400", "NaN", "[" * 1500 + "]" * 1500])
def test_what_only_the_slow_reader_reads_is_bounded(ending, monkeypatch):
    """It takes ten times as long, and more."""
    text = "word " * (SLOW_BYTES // 5)
    raw = f'{{"messages":[{{"role":"user","content":"{text}"}}],"a":{ending}}}'.encode()
    monkeypatch.setattr(json_body.json, "loads", lambda *_, **__: pytest.fail("it was read"))

    refused = at_once(loading(raw, DEFAULTS))

    assert isinstance(refused, Rejected)
    assert refused.reason is RejectReason.INVALID_JSON and str(SLOW_BYTES) in refused.message


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32-le"])
def test_other_encodings_are_read_as_fast(encoding, monkeypatch):
    """They become UTF-8, and are as long as that."""
    text = "wörd \U0001f600 " * 20_000
    raw = json.dumps({"messages": [{"role": "user", "content": text}]}, ensure_ascii=False)
    monkeypatch.setattr(json_body.json, "loads", lambda *_, **__: pytest.fail("read slowly"))

    parsed = parse(raw.encode(encoding), CHAT)

    assert isinstance(parsed, ParsedRequest)
    assert parsed.prompt.users == (text,)
    assert parsed.prompt.bytes == len(raw.encode())


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_client_is_told_of_the_bound(world, coding):
    """400, in the route's form, whatever the body came in; no engine is asked."""
    raw = many("[]", 20_000)
    set_limits(world, max_values=65_536)

    async with world.client(key="acme") as client:
        content = gzip.compress(raw) if coding == "gzip" else raw
        answer = await client.post(
            "/v1/chat/completions", content=content, headers={"content-encoding": coding}
        )

    assert answer.status_code == 400
    assert "limits.max_values" in answer.json()["error"]["message"]
    assert world.lanes.opened == []


async def test_a_frame_of_a_socket_has_the_same_bounds(socket_world):
    """Its chat is told so, where the frame begins with its id, and the socket stays."""
    for ingress in socket_world.ingresses:
        set_limits(ingress, max_values=65_536)
    client = await socket_world.connect()
    heavy = '{"id":"a","type":"chat","body":{"x":[' + ",".join(["[]"] * 20_000) + "]}}"

    client.say(heavy)
    refused = await client.until_end("a")
    client.chat("b")
    answered = await client.until_end("b")

    assert refused[-1]["type"] == "error"
    assert "limits.max_values" in refused[-1]["error"]["message"]
    assert answered[-1]["type"] == "done"


def set_limits(world, **limits) -> None:
    fleet = world.state.policies.fleet
    fleet = fleet.model_copy(update={"limits": fleet.limits.model_copy(update=limits)})
    object.__setattr__(world.state.policies, "fleet", fleet)
