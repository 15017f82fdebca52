"""What a body may not hold, and that nothing else is refused."""

import json

import pytest

from router.errors import Rejected, RejectReason
from serve_app.bodies.body_rules import RULES
from serve_app.bodies.parsed_request import ParsedRequest, for_engine, parse
from serve_app.bodies.routes import ROUTES
from tests.refused_bodies import ROWS
from tests.valid_bodies import VALID
from tests.wrong_bodies import NESTED, SMALLEST, wrong_bodies

pytestmark = pytest.mark.security


def read(path, body):
    return parse(json.dumps(body).encode(), ROUTES[path])


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_what_an_engine_should_not_see_is_refused_by_the_name_of_its_field(row):
    """A 400 that says which field, before any engine is asked."""
    refused = read(row.path, row.body)

    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.param) == (RejectReason.INVALID_REQUEST, row.param)
    assert row.param in refused.message


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_row_is_refused_for_its_own_fields(row):
    """The smallest body of its route is not what is wrong with it."""
    assert isinstance(read(row.path, SMALLEST[row.path]), ParsedRequest)


@pytest.mark.parametrize(("path", "body"), VALID, ids=str)
def test_what_clients_rightly_send_is_not_refused(path, body):
    """It reaches the engine as it came."""
    parsed = read(path, body)

    assert isinstance(parsed, ParsedRequest), parsed
    sent = json.loads(for_engine(parsed, model="m", cache_salt=None, priority=None))
    expected = {k: v for k, v in body.items() if k not in ("model", "priority", "cache_salt")}
    sent.pop("model")
    if sent.get("stream_options") != body.get("stream_options"):
        assert sent.pop("stream_options")["include_usage"] is True
        expected.pop("stream_options", None)
    assert sent == expected


@pytest.mark.parametrize("path", ROUTES)
def test_null_is_as_if_absent(path):
    """Clients send null for what they have no value for."""
    absent = dict.fromkeys(set(RULES[path]) - set(SMALLEST[path]))

    assert isinstance(read(path, {**absent, **SMALLEST[path]}), ParsedRequest)


@pytest.mark.parametrize("path", SMALLEST)
def test_no_wrong_body_makes_reading_it_fail(path):
    """Refused, or read and written: thousands of bodies, none of which raises."""
    for place, body in wrong_bodies(path):
        parsed = read(path, body)
        if isinstance(parsed, ParsedRequest):
            assert for_engine(parsed, model="m", cache_salt="s", priority=1), place
        else:
            assert parsed.param is not None, place


@pytest.mark.parametrize("path", SMALLEST)
def test_the_valid_bodies_that_are_spoilt_are_valid(path):
    """What the generator starts from is not refused."""
    for fields in NESTED[path]:
        parsed = read(path, {**SMALLEST[path], **fields})
        assert isinstance(parsed, ParsedRequest), (fields, parsed)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "max_tokens"),
        ("/v1/chat/completions", "max_completion_tokens"),
        ("/v1/chat/completions", "n"),
        ("/v1/chat/completions", "top_k"),
        ("/v1/chat/completions", "seed"),
        ("/v1/chat/completions", "min_tokens"),
        ("/v1/completions", "logprobs"),
        ("/v1/completions", "max_tokens"),
        ("/v1/responses", "max_output_tokens"),
        ("/v1/messages", "max_tokens"),
    ],
)
def test_whole_numbers_are_whole_numbers(path, name):
    """`16.0` is read as 16, and is 16 to the engine."""
    parsed = read(path, {**SMALLEST[path], name: 16.0})

    assert isinstance(parsed, ParsedRequest)
    sent = for_engine(parsed, model="m", cache_salt=None, priority=None)
    assert f'"{name}":16'.encode() in sent and b"16.0" not in sent


def test_temperatures_stay_what_they_were():
    """A field of fractions is not made an integer."""
    parsed = read("/v1/chat/completions", {**SMALLEST["/v1/chat/completions"], "temperature": 1.0})

    assert b'"temperature":1.0' in for_engine(parsed, model="m", cache_salt=None, priority=None)


@pytest.mark.parametrize("model", ["", " ", None])
def test_a_blank_model_is_no_model(model):
    """The router decides."""
    parsed = read("/v1/chat/completions", {**SMALLEST["/v1/chat/completions"], "model": model})

    assert isinstance(parsed, ParsedRequest) and parsed.model is None


@pytest.mark.parametrize(("count", "is_taken"), [(4_000, True), (5_001, False)])
@pytest.mark.parametrize("value", ["x", {}])
def test_a_grammar_holds_so_many_values_at_most(count, is_taken, value):
    """Wherever they stand: all are looked at on the event loop."""
    grammar = {"structured_outputs": {"json": {"type": "object", "x-notes": [[value] * count]}}}
    parsed = read("/v1/chat/completions", {**SMALLEST["/v1/chat/completions"], **grammar})

    assert isinstance(parsed, ParsedRequest) is is_taken
    if not is_taken:
        assert parsed.param == "structured_outputs" and "limits.schemas." in parsed.message


@pytest.mark.parametrize("name", ["x" * 10_000, "my secret words", {"a": "secret"}, None, 7])
@pytest.mark.parametrize(
    "fields",
    [
        lambda kind: ("/v1/responses", {"tools": [{"type": kind}]}),
        lambda kind: ("/v1/responses", {"tools": [kind]}),
        lambda kind: ("/v1/messages", {"tools": [{"type": kind or 0, "name": "f"}]}),
        lambda kind: ("/v1/messages", {"tools": [[kind]]}),
    ],
)
def test_a_refusal_repeats_nothing_but_names(fields, name):
    """Nor a megabyte of what was sent."""
    path, given = fields(name)
    refused = read(path, {**SMALLEST[path], **given})

    assert isinstance(refused, Rejected) and refused.param == "tools"
    assert "secret" not in refused.message and len(refused.message) < 200


@pytest.mark.parametrize(("count", "is_taken"), [(100, True), (300, True), (4_000, False)])
def test_a_chain_of_references_is_a_nesting(count, is_taken):
    """A flat one overflows the engine's stack as well."""
    defs = {
        f"d{i}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{i + 1}"}}}
        for i in range(count)
    }
    schema = {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{count}": {"type": "string"}}}
    body = {**SMALLEST["/v1/chat/completions"], "structured_outputs": {"json": schema}}

    assert isinstance(read("/v1/chat/completions", body), ParsedRequest) is is_taken
