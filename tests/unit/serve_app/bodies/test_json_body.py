"""Numbers and texts reach the engine as they came, or are refused."""

import json
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.errors import Rejected, RejectReason
from serve_app.bodies.body_bounds import DEFAULTS
from serve_app.bodies.json_body import as_utf8, dump, loading
from serve_app.bodies.steps import at_once

pytestmark = pytest.mark.security

digits = st.text("0123456789", min_size=1, max_size=400).map(lambda x: x.lstrip("0") or "0")
numbers = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "-"]),
        digits,
        st.just("") | digits.map(lambda x: f".{x}"),
        st.just("")
        | st.builds(
            "{}{}{}".format,
            st.sampled_from("eE"),
            st.sampled_from(["", "+", "-"]),
            st.integers(0, 500),
        ),
    ),
)


def load_object(raw: bytes):
    return at_once(loading(as_utf8(raw), DEFAULTS))


def in_a_body(text: str, depth: int = 0) -> bytes:
    return f'{{"a":{"[" * depth}{text}{"]" * depth}}}'.encode()


@given(text=numbers, depth=st.integers(0, 3))
@example("1e400", 0)
@example("-0", 0)
@example("-0.0", 0)
@example("1E+0400", 1)
@example(str(2**63), 0)
@example(str(2**64 - 1), 0)
@example(str(2**64), 0)
@example(str(-(2**63)), 0)
@example(str(-(2**63) - 1), 2)
@example("9" * 309, 0)
@example("0.1000000000000000055511151231257827", 0)
def test_no_number_changes_on_its_way(text, depth):
    """The engine reads what it would have read of the client's own bytes, or never sees it."""
    body = load_object(in_a_body(text, depth))

    direct = json.loads(in_a_body(text, depth))
    if isinstance(body, Rejected):
        assert body.param == "a" and body.reason is RejectReason.INVALID_REQUEST
        assert abs(Fraction(text)) > Fraction(1.7e308)
        return
    assert repr(json.loads(dump(body))) == repr(direct)


@pytest.mark.parametrize(
    "text", ["1e400", "-1e309", "1e99999999", "1" + "0" * 400 + ".0", "9" * 5000]
)
@pytest.mark.parametrize("depth", [0, 2])
def test_a_number_that_no_reader_could_hold_is_refused_by_the_name_of_its_field(text, depth):
    """It would have reached the engine as null."""
    refused = load_object(in_a_body(text, depth))

    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.param) == (RejectReason.INVALID_REQUEST, "a")


@given(whole=st.integers())
def test_integers_of_any_size_stay_what_they_are(whole):
    """Past 64 bits too."""
    body = load_object(in_a_body(str(whole)))

    assert body == {"a": whole} and type(body["a"]) is int
    assert json.loads(dump(body)) == {"a": whole}


def test_digits_in_a_text_are_text():
    """Only numbers are looked at."""
    text = "1e400 " + "9" * 400

    assert load_object(json.dumps({"a": text}).encode()) == {"a": text}


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b'{"messages": [{"role": "user", "content": "Hi \\ud83d"}]}', "messages"),
        (b'{"a": 1, "stop": ["\\udfff"]}', "stop"),
        (b'{"x\\ud800": 1}', "x?"),
        (b'{"a": "\xed\xa0\x80"}', "a"),
    ],
)
def test_half_a_character_is_refused_by_the_name_of_its_field(raw, name):
    """No tokenizer takes it; some fields would end the engine's request at 500."""
    refused = load_object(raw)

    assert isinstance(refused, Rejected)
    assert (refused.reason, refused.param) == (RejectReason.INVALID_REQUEST, name)


def test_pairs_of_surrogates_are_characters():
    """How JSON writes what lies past the first plane."""
    assert load_object(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


@pytest.mark.parametrize("raw", [b'{"n": 1, "n": 8}', b'{"n": 1, "m": 1e999, "n": 8, "m": 0}'])
def test_of_a_name_that_comes_twice_the_last_counts_for_everybody(raw):
    """What we read is what we send: the engine sees no other value."""
    body = load_object(raw)

    assert body["n"] == 8
    assert dump(body).count(b'"n"') == 1


@pytest.mark.parametrize("raw", [b"1e400", b"[1e400]", b'"\\ud800"', b"18446744073709551616"])
def test_what_is_no_object_is_refused_as_such(raw):
    """However it had to be read."""
    refused = load_object(raw)

    assert isinstance(refused, Rejected)
    assert refused.message == "The request body must be a JSON object."
