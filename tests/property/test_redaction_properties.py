"""Redaction never fails, takes time as the text is long, and lets nothing pass that it knows."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.traces.patterns import PATTERNS
from evals.traces.reading import readings
from evals.traces.redaction import Redactor
from tests.property.counted_regex import CountedRegex

STEPS_PER_CHAR = 100
"""Of one pattern; a quadratic one takes half of the text's length."""

LENGTH = 1_000

# Beginnings of what the patterns look for, and what they read on through.
PIECES = (
    *("1", "11 ", "4111 ", "-", "0", "00", "+1", "(", ")", ".", "/", "1.", "1:", ":", "f:", "::"),
    *("A", "AB12", "AB12 ", "a", "@", "a@", "a.", "a@a.", "eyJ", "eyJaaaaaaaa.", "://", "://a:"),
    *("-----BEGIN ", "PRIVATE KEY", "-----", "-----END ", "-----BEGIN PRIVATE KEY-----", " "),
    *("token ", "Bearer ", "secret", "secret:", "api_key=", '"', "'", "\\", "=", "AKIA", "sk-"),
    *("pm-a", "ghp_", "xoxb-", "555-", "é", "\uff14", "phone ", "tel", " is", " number", "123-45-"),
    *("password='", "?secret=", "&token=", "--token ", "PASSWORD=", "4111.", "11.11", " - "),
)

SECRETS = (
    "bob.o'brien+x@mail.example.org",
    "+49 (0)30 123456-78",
    "(555) 123-4567",
    "4111 1111 1111 1111",
    "378282246310005",
    "DE89 3704 0044 0532 0130 00",
    "GB29NWBK60161331926819",
    "203.0.113.9",
    "2001:db8::8a2e:370:7334",
    "pm-0123456789ab-q1_Zr8aBcDeF-gHiJkLmN",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_" + "a1B2" * 9,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r",
    "-----BEGIN PRIVATE KEY-----\nMIIEvQ+/==\n-----END PRIVATE KEY-----",
    "4111.1111.1111.1111",
    "4111-1111-1111-1111".translate({ord(x): ord(x) + 0xFEE0 for x in "14-"}),
    "bob%40mail.example.org",
    "?password=sunshine",
    "phone: 1234567",
    "123-45-6789",
)

adversarial = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda x: f"{x.name} {x.lead}")
@settings(max_examples=25)
@given(head=adversarial, unit=adversarial)
def test_no_text_takes_a_pattern_more_than_so_many_steps_a_character(pattern, head, unit):
    text = (head + unit * LENGTH)[:LENGTH]
    counted = CountedRegex(pattern.regex)

    found = counted.finditer(text)

    # The matcher is `re`'s equal, so its steps are worth counting.
    assert found == [match.span() for match in pattern.regex.finditer(text)]
    assert counted.steps <= STEPS_PER_CHAR * len(text)


@given(st.text() | st.text(alphabet=st.characters()) | adversarial.map(lambda x: x * 50))
def test_any_text_is_redacted_and_its_places_are_counted(text):
    found, count = Redactor().text(text)

    assert (found == text) is (count == 0)
    assert len(found) <= len(text) + count * len("[private_key]")


@given(st.sampled_from(SECRETS), st.text(max_size=30), st.text(max_size=30))
def test_what_is_known_does_not_pass_whatever_stands_around_it(secret, before, after):
    found, count = Redactor().text(f"{before}\n{secret}\n{after}")

    assert secret not in found and count


def test_a_pattern_that_reads_a_run_again_from_each_place_in_it_is_found():
    counted = CountedRegex(re.compile(r"\w++@"))

    counted.finditer("a" * LENGTH)

    assert counted.steps > STEPS_PER_CHAR * LENGTH


@given(st.text(alphabet=st.sampled_from("%&#;x\\u0412345678abF@é４\u00a0")))
def test_a_reading_knows_where_each_of_its_signs_was_written(text):
    """What is between two signs of it is the sign, or the escape that stands for it."""
    for reading in readings(text):
        spans = [reading.written(at, at + 1) for at in range(len(reading.text))]
        parts = [text[first:last] for first, last in spans]
        assert "".join(parts) == text
        assert all(len(part) == 1 or part[0] in "%&\\" for part in parts)


@given(JSON)
def test_json_keeps_its_shape(value):
    found, count = Redactor().json(value)

    assert shape(found) == shape(value) or count
    json.dumps(found)


@given(JSON.filter(lambda x: isinstance(x, dict)))
def test_arguments_stay_json_and_as_they_were_written_where_nothing_is_taken_out(value):
    text = json.dumps(value)

    found, count = Redactor().arguments(text)

    assert found == text if count == 0 else isinstance(json.loads(found), dict)


def shape(value):
    if isinstance(value, dict):
        return [shape(x) for x in value.values()]
    return [shape(x) for x in value] if isinstance(value, list) else type(value)
