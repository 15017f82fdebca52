"""Whatever a client sends for a body is refused with a reason or can be sent to an engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.errors import Rejected
from serve_app.bodies.parsed_request import ParsedRequest, for_engine, parse
from serve_app.bodies.routes import ROUTES
from serve_app.protocol.errors import error_body, status_of
from tests.property.mutations import FUZZED, VALUES, mangled, spoilt
from tests.refused_bodies import ROWS
from tests.valid_bodies import VALID
from tests.wrong_bodies import FIELDS

pytestmark = pytest.mark.security

KNOWN = [*VALID, *((row.path, row.body) for row in ROWS)]
FORBIDDEN = ("kv_transfer_params", "ec_transfer_params", "vllm_xargs", "previous_response_id")
OURS = {"model": "ours", "cache_salt": "our-salt", "priority": 7}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A route and a body that began as a known one."""
    path, body = draw(st.sampled_from(KNOWN))
    fields = st.dictionaries(st.sampled_from([*FIELDS[path], *FORBIDDEN, *OURS]), VALUES)
    body = draw(spoilt(body)) if draw(st.booleans()) else body
    if isinstance(body, dict) and draw(st.booleans()):
        body = {**body, **draw(fields)}
    return path, draw(mangled(json.dumps(body).encode()))


def as_written(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, none of whose names may come twice: two readers could differ."""
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


@FUZZED
@given(bodies())
@example(("/v1/chat/completions", b'{"messages":[{"role":"user","content":"' + b"\xff" + b'"}]}'))
def test_a_body_is_refused_with_a_reason_or_is_the_engine_s_and_ours(given_body) -> None:
    """Never a fault; and of what passes `model`, `cache_salt` and `priority` are ours alone."""
    path, raw = given_body
    route = ROUTES[path]

    parsed = parse(raw, route)

    if isinstance(parsed, Rejected):
        assert status_of(parsed.reason) in (400, 413)
        said = json.loads(error_body(parsed, route.dialect))["error"]
        assert said["message"] and len(said["message"]) < 2_000
        return
    assert isinstance(parsed, ParsedRequest)
    sent = json.loads(for_engine(parsed, **OURS), object_pairs_hook=as_written)
    expected = {"model": "ours"}
    if route.generates:
        expected["cache_salt"] = "our-salt"
        if route.has_priority:
            expected["priority"] = 7
    assert {name: sent[name] for name in OURS if name in sent} == expected
    assert not [name for name in FORBIDDEN if sent.get(name) is not None]
    unset = json.loads(for_engine(parsed, model="ours", cache_salt=None, priority=None))
    assert not {"cache_salt", "priority"} & unset.keys()


@FUZZED
@given(bodies())
def test_what_is_counted_is_what_may_be_generated(given_body) -> None:
    """Numbers that limits are held against are whole and positive, whatever stood there."""
    path, raw = given_body

    parsed = parse(raw, ROUTES[path])

    if isinstance(parsed, ParsedRequest):
        assert type(parsed.stream) is bool and type(parsed.wants_usage) is bool
        assert type(parsed.n) is int and parsed.n >= 1
        assert parsed.num_sequences == parsed.n * parsed.prompts and parsed.prompts >= 0
        limit = parsed.output_tokens
        assert limit is None or (type(limit) is int and 1 <= limit < 2**31)
        assert 0 < parsed.prompt.longest <= 1.0


def calls_of(work: Callable[[], Any]) -> int:
    """Calls of functions, ours and the interpreter's, that a piece of work makes."""
    count = 0

    def note(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


# What a body may hold many of, and the least that each takes.
MANY = {
    "messages": ('{"messages":[%s]}', '{"role":"user","content":"a"}'),
    "parts": ('{"messages":[{"role":"user","content":[%s]}]}', '{"type":"text","text":"a"}'),
    "empty parts": ('{"messages":[{"role":"user","content":[%s]}]}', "{}"),
    "lists": ('{"messages":[{"role":"user","content":"a"}],"x":[%s]}', "[]"),
    "numbers": ('{"messages":[{"role":"user","content":"a"}],"x":[%s]}', "1e300"),
    "tools": (
        '{"messages":[{"role":"user","content":"a"}],"tool_choice":"required","tools":[%s]}',
        '{"type":"function","function":{"name":"f","parameters":{}}}',
    ),
    "surrogates": ('{"messages":[{"role":"user","content":"a"}],"x":[%s]}', '"\\ud800"'),
    "values of a schema": (
        '{"messages":[{"role":"user","content":"a"}],"structured_outputs":{"json":{"enum":[%s]}}}',
        '"a"',
    ),
}


@pytest.mark.parametrize("form", MANY.values(), ids=MANY)
def test_twice_as_much_is_at_most_twice_the_work(form) -> None:
    """Nothing is looked through once for each of the others."""
    frame, piece = form

    def cost(count: int) -> int:
        raw = (frame % ",".join([piece] * count)).encode()
        return calls_of(lambda: parse(raw, ROUTES["/v1/chat/completions"]))

    few, twice = cost(1_000), cost(2_000)

    assert twice <= 2.2 * few + 200


@FUZZED
@given(bodies())
def test_work_is_bounded_by_the_body_s_bytes(given_body) -> None:
    """Some calls for each byte, at the very most, and a base."""
    path, raw = given_body

    assert calls_of(lambda: parse(raw, ROUTES[path])) <= 3_000 + 20 * len(raw)
