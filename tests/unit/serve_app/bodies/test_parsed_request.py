"""Reading a request body, and writing the engine's."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.errors import Rejected, RejectReason
from router.types import Task
from serve_app.bodies.parsed_request import ParsedRequest, for_engine, parse
from serve_app.bodies.routes import ROUTES

CHAT = ROUTES["/v1/chat/completions"]
COMPLETIONS = ROUTES["/v1/completions"]
RESPONSES = ROUTES["/v1/responses"]
MESSAGES = ROUTES["/v1/messages"]
COUNT = ROUTES["/v1/messages/count_tokens"]
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
values = st.recursive(
    scalars, lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text(), x, max_size=4)
)
known = st.sampled_from(
    ["model", "stream", "stream_options", "n", "tools", "max_tokens", "prompt", "input", "system"]
)
bodies = st.dictionaries(known | st.text(), values, max_size=6)
messages = st.lists(
    st.dictionaries(st.sampled_from(["role", "content", "name"]), values | st.text()), max_size=4
)

CONVERSING = [route for route in ROUTES.values() if route.task is Task.GENERATE]


def chat(**fields):
    return parse(json.dumps({**HELLO, **fields}).encode(), CHAT)


def to_engine(parsed, model="m", cache_salt="salt", priority=None):
    return json.loads(for_engine(parsed, model=model, cache_salt=cache_salt, priority=priority))


@pytest.mark.parametrize("route", CONVERSING, ids=lambda route: route.path)
def test_fields_that_are_not_known_reach_the_engine_as_they_came(route):
    """The body is the client's: only three fields are ours."""
    own = {"top_k": 5, "nested": {"a": [1, 2.5, None, True, "é\u2028"]}, "empty": {}, "zero": 0}
    body = {**HELLO, "prompt": "Hello", "input": "Hello", **own, "max_tokens": 9}

    sent = to_engine(parse(json.dumps(body).encode(), route))

    expected = {**body, "model": "m"}
    assert sent == (expected | {"cache_salt": "salt"} if route.generates else expected)


@pytest.mark.security
def test_model_salt_and_priority_of_the_client_are_overwritten():
    """A client cannot reach another tenant's cache or jump the queue."""
    parsed = chat(model="auto", cache_salt="theirs", priority=-100)

    sent = to_engine(parsed, model="small", cache_salt="ours", priority=10)

    assert (sent["model"], sent["cache_salt"], sent["priority"]) == ("small", "ours", 10)


@pytest.mark.parametrize("priority", [None, 0])
def test_priority_is_left_out_where_there_is_none_to_set(priority):
    """Zero is the engine's own default, and some engines refuse the field."""
    sent = to_engine(chat(priority=-1, cache_salt="x"), cache_salt=None, priority=priority)

    assert "priority" not in sent
    assert "cache_salt" not in sent


@pytest.mark.security
def test_the_anthropic_route_gets_no_priority():
    """Its request model does not know the field."""
    parsed = parse(json.dumps(HELLO).encode(), MESSAGES)

    assert "priority" not in to_engine(parsed, priority=10)


@pytest.mark.security
def test_counting_tokens_gets_nothing_but_the_model():
    """Nothing is generated, so nothing is salted or queued."""
    parsed = parse(json.dumps({**HELLO, "stream": True}).encode(), COUNT)

    assert to_engine(parsed, priority=10) == {**HELLO, "stream": True, "model": "m"}


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"other": 1}])
def test_usage_is_asked_for_on_streams_when_the_client_did_not(options):
    """Accounting needs it; the client's other options stay."""
    parsed = chat(stream=True, stream_options=options)

    sent = to_engine(parsed)

    assert not parsed.wants_usage
    assert sent["stream_options"] == {**(options or {}), "include_usage": True}


def test_stream_options_stay_untouched_when_the_client_asks_for_usage():
    """What is there already is not injected."""
    parsed = chat(stream=True, stream_options={"include_usage": True, "x": 1})

    assert parsed.wants_usage
    assert to_engine(parsed)["stream_options"] == {"include_usage": True, "x": 1}


@pytest.mark.parametrize(("route", "stream"), [(CHAT, False), (RESPONSES, True), (MESSAGES, True)])
def test_usage_is_not_asked_for_where_it_comes_anyway(route, stream):
    """Whole answers, Responses and Anthropic streams always carry usage."""
    body = {**HELLO, "input": "Hello", "stream": stream}

    assert "stream_options" not in to_engine(parse(json.dumps(body).encode(), route))


@pytest.mark.security
@pytest.mark.parametrize(
    "name", ["kv_transfer_params", "ec_transfer_params", "vllm_xargs", "previous_response_id"]
)
def test_fields_that_reach_into_the_deployment_are_refused(name):
    """They are refused by name, and allowed as null."""
    rejected = chat(**{name: {"a": 1}})

    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.param) == (RejectReason.INVALID_REQUEST, name)
    assert isinstance(chat(**{name: None}), ParsedRequest)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", 3),
        ("stream", "yes"),
        ("stream", 1),
        ("stream_options", []),
        ("n", "2"),
        ("n", True),
        ("n", 1.5),
        ("n", 0),
        ("n", -1),
        ("tools", {}),
        ("max_tokens", "many"),
        ("max_tokens", 0),
        ("max_completion_tokens", False),
        ("max_tokens", -5),
        ("messages", None),
        ("messages", []),
        ("messages", "Hello"),
        ("messages", ["Hello"]),
        ("messages", [{"content": "Hello"}]),
        ("messages", [{"role": 1}]),
    ],
)
def test_a_field_of_the_wrong_type_is_refused_by_name(name, value):
    """Each field that routing reads is checked before it is read."""
    rejected = chat(**{name: value})

    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.param) == (RejectReason.INVALID_REQUEST, name)


@pytest.mark.parametrize(("route", "name"), [(COMPLETIONS, "prompt"), (RESPONSES, "input")])
@pytest.mark.parametrize("value", [None, 3, {}])
def test_each_route_demands_its_own_kind_of_prompt(route, name, value):
    """A prompt is a string or an array."""
    rejected = parse(json.dumps({**HELLO, name: value}).encode(), route)

    assert isinstance(rejected, Rejected)
    assert rejected.param == name


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", RejectReason.INVALID_JSON),
        (b"{", RejectReason.INVALID_JSON),
        (b"\xff\xfe", RejectReason.INVALID_JSON),
        (b"[" * 50_000, RejectReason.INVALID_JSON),
        (b"[]", RejectReason.INVALID_REQUEST),
        (b'"text"', RejectReason.INVALID_REQUEST),
        (b"null", RejectReason.INVALID_REQUEST),
    ],
)
def test_what_is_not_a_json_object_is_refused(raw, reason):
    """Bad JSON and good JSON of the wrong kind have their own codes."""
    rejected = parse(raw, CHAT)

    assert isinstance(rejected, Rejected)
    assert rejected.reason is reason


def test_a_chat_is_read_for_its_system_prompts_and_user_turns():
    """Text parts count, pictures and other roles do not."""
    parts = [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {}}, "this"]
    body = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "One"},
            {"role": "assistant", "content": None},
            {"role": "user", "content": parts},
        ],
        "tools": [{"type": "function", "function": {"name": name}} for name in "ab"],
        "max_completion_tokens": 5,
        "max_tokens": 9,
        "n": 2,
    }

    parsed = parse(json.dumps(body).encode(), CHAT)

    assert parsed.prompt.system == "Be brief.\nBe kind."
    assert parsed.prompt.users == ("One", "Look:\nthis")
    assert parsed.prompt.messages == 5
    assert (parsed.n, parsed.tools, parsed.output_tokens) == (2, 2, 5)


@pytest.mark.parametrize(
    ("route", "body", "system", "users"),
    [
        (COMPLETIONS, {"prompt": "Once"}, "", ("Once",)),
        (COMPLETIONS, {"prompt": [1, 2, 3]}, "", ("",)),
        (RESPONSES, {"input": "Hi", "instructions": "Be brief."}, "Be brief.", ("Hi",)),
        (RESPONSES, {"input": ["Hi", {"role": "user", "content": "Yo"}]}, "", ("Yo",)),
        (MESSAGES, {**HELLO, "system": [{"text": "Be brief."}]}, "Be brief.", ("Hello",)),
    ],
)
def test_every_dialect_is_read_for_the_same_things(route, body, system, users):
    """The classifier and the session id do not know dialects."""
    parsed = parse(json.dumps(body).encode(), route)

    assert (parsed.prompt.system, parsed.prompt.users) == (system, users)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(number):
    """NaN is not JSON, and would reach the engine as null."""
    raw = b'{"messages": [{"role": "user", "content": "x"}], "temperature": %s}' % number.encode()

    parsed = parse(raw, CHAT)

    assert isinstance(parsed, Rejected)
    assert parsed.reason is RejectReason.INVALID_JSON


def test_large_integers_reach_the_engine_as_they_came():
    """An integer stays an integer, whatever its size."""
    sent = to_engine(chat(seed=2**70))

    assert isinstance(sent["seed"], int)
    assert sent["seed"] == 2**70


def test_messages_on_the_responses_route_are_not_read():
    """A field that this route does not know cannot make reading it fail."""
    parsed = parse(b'{"input": "Hi", "messages": 5}', RESPONSES)

    assert isinstance(parsed, ParsedRequest)


def test_escapes_are_not_longer_prompts():
    """Clients that write ASCII only send six bytes for a letter of two."""
    body = {"messages": [{"role": "user", "content": "Привет, " * 50}]}

    escaped = parse(json.dumps(body).encode(), CHAT)
    plain = parse(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(), CHAT)

    assert escaped.prompt.bytes == plain.prompt.bytes


@pytest.mark.parametrize(
    ("prompt", "longest"),
    [
        ("one", 1.0),
        ([1, 2, 3], 1.0),
        (["ab", "abcdef"], 0.75),
        ([[1], [1, 2, 3]], 0.75),
        ([""], 1.0),
    ],
)
def test_each_prompt_of_a_batch_has_the_window_for_itself(prompt, longest):
    """Its longest is what has to fit."""
    parsed = parse(json.dumps({"prompt": prompt}).encode(), COMPLETIONS)

    assert parsed.prompt.longest == longest


@pytest.mark.parametrize(
    ("route", "fields", "is_taken"),
    [(COMPLETIONS, {"echo": True}, True), (COMPLETIONS, {}, False), (CHAT, {"echo": True}, False)],
)
def test_a_prompt_may_be_echoed_without_an_answer(route, fields, is_taken):
    """How evaluations ask for the log probabilities of a text."""
    body = {**HELLO, "prompt": "x", "max_tokens": 0, **fields}

    assert isinstance(parse(json.dumps(body).encode(), route), ParsedRequest) == is_taken


@pytest.mark.parametrize("depth", [100, 240, 260, 500, 900, 990, 1010, 1020, 5000])
def test_whatever_is_read_can_be_written(depth):
    """orjson reads deeper than it writes, and Python's writer ends in between."""
    raw = b'{"messages":[{"role":"user","content":"x"}],"a":' + b"[" * depth + b"]" * depth + b"}"

    parsed = parse(raw, CHAT)

    if isinstance(parsed, ParsedRequest):
        assert for_engine(parsed, model="m", cache_salt="s", priority=1)
    else:
        assert parsed.reason is RejectReason.INVALID_JSON and depth > 500


@pytest.mark.security
@given(raw=st.binary(), route=st.sampled_from(list(ROUTES.values())))
def test_arbitrary_bytes_never_raise(raw, route):
    """Garbage is refused, not a fault."""
    assert isinstance(parse(raw, route), (ParsedRequest, Rejected))


@pytest.mark.security
@given(body=bodies | values, route=st.sampled_from(list(ROUTES.values())))
def test_arbitrary_json_never_raises(body, route):
    """Neither reading nor writing fails on any JSON value."""
    parsed = parse(json.dumps(body).encode(), route)

    if isinstance(parsed, ParsedRequest):
        for_engine(parsed, model="m", cache_salt="s", priority=1)


@pytest.mark.security
@given(body=bodies, turns=messages, route=st.sampled_from([CHAT, MESSAGES, COUNT]))
@example({"stream_options": [None]}, [{"role": "user"}], MESSAGES)
def test_arbitrary_messages_never_raise(body, turns, route):
    """Messages of any shape are read or refused."""
    parsed = parse(json.dumps({**body, "messages": turns}).encode(), route)

    if isinstance(parsed, ParsedRequest):
        assert parsed.prompt.messages == len(turns)
