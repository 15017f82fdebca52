"""What is taken out of texts, and what is left in."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from evals.traces.redaction import HookError, Redactor
from evals.traces.trace import Trace


def wide(text: str) -> str:
    """Return a text in full width, but for its spaces."""
    return "".join(sign if sign == " " else chr(ord(sign) + 0xFEE0) for sign in text)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("mail bob.o@example.com. Thanks", "mail [email]. Thanks"),
        ("call +49 30 1234567, (555) 123-4567 or 030/1234567", "call [phone], [phone] or [phone]"),
        ("0049 30 123456", "[phone]"),
        ("card 4111-1111-1111-1111 12/29", "card [card] 12/29"),
        ("pay 4111 1111 1111 1111 2024 12 now", "pay [card] 2024 12 now"),
        ("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF", "IBAN [iban] BIC COBADEFF"),
        ("AB12 CD34 DE89370400440532013000", "AB12 CD34 [iban]"),
        ("from 10.1.2.3:80 and fe80::1.", "from [ip]:80 and [ip]."),
        ("2001:0db8:85a3:0000:0000:8a2e:0370:7334", "[ip]"),
        ("Authorization: Bearer abc123def456ghi", "Authorization: Bearer [token]"),
        ("pm-0123456789ab-q1_Zr8aBcDeF-gHiJkLmN!", "[api_key]!"),
        ("AKIAIOSFODNN7EXAMPLE, ghp_" + "a1" * 18, "[api_key], [api_key]"),
        ('{\\"api_key\\": \\"a1b2c3d4e5f6\\"}', '{\\"api_key\\": \\"[secret]\\"}'),
        ("https://me:s3cr3t@host/x", "https://me:[password]@host/x"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc-_def", "[jwt]"),
        ("-----BEGIN EC PRIVATE KEY-----\nMI\n-----END EC PRIVATE KEY----- ok", "[private_key] ok"),
        ("-----BEGIN PRIVATE KEY-----\nMII cut", "[private_key]"),
        # As it reads, not as it is written: full width, what does not break, dots, escapes.
        (f"{wide('4111 1111 1111 1111')} / {wide('bob@example.com')}", "[card] / [email]"),
        ("4111\u00a01111\u00a01111\u00a01111, +49\u201130\u20111234567", "[card], [phone]"),
        ("4111.1111.1111.1111, 4111 - 1111 - 1111 - 1111", "[card], [card]"),
        ("m=bob%40example.com&t=%2B49%2030%201234567", "m=[email]&t=[phone]"),
        ("a\\u0040example.com &#99;&#64;example.com &#x64;@example.com", "[email] [email] [email]"),
        ("https://me:p%40ss@host/x", "https://me:[password]@host/x"),
        # A number that is said to be a phone's, a word in a secret's place.
        ("Tel.: 1234567, my phone number is 555-0123", "Tel.: [phone], my phone number is [phone]"),
        ("password = 'sunshine'", "password = '[secret]'"),
        ('{\\"password\\": \\"sunshine\\"}', '{\\"password\\": \\"[secret]\\"}'),
        ("/login?user=bob&password=sunshine#top", "/login?user=bob&password=[secret]#top"),
        ("mysql --password sunshine", "mysql --password [secret]"),
        ("export DB_PASSWORD=sunshine", "export DB_PASSWORD=[secret]"),
        ("SSN 123-45-6789", "SSN [ssn]"),
    ],
)  # fmt: skip
def test_what_is_known_is_named_in_its_place(text, redacted):
    assert Redactor().text(text) == (redacted, redacted.count("["))


@pytest.mark.parametrize(
    "text",
    [
        "react@18.2.0 @types/node",
        "on 2026-11-30 12:30:45 or 01-02-2026 12:30, 1764500000000 ms",
        "0.4111111111111111 and order 4111111111111112",
        "std::vector a::b ::1 127.0.0.1",
        "GB29NWBK60161331926818 and 3714 496353 98432",
        "the bearer of bad news; token authentication",
        "password: required; api_key = os.environ['KEY']",
        "order 0301234567",
        "3.4111111111111111 and 3.4111.1111.1111.1111",
        "100%40 and 50% off, %zz, &#9; &#x7f;",
        "phone 2026-11-30, iPhone 15 2024 12, the call of 1234567",
        "'password': 'required', {password: \"$SECRET\"}, secret='***'",
        "connect(password=own.password); PASSWORD=os.environ['X']; TOKEN=word",
        "the password: sunshine, ?key=name&passage=two, -token word",
        'password: "Your password has 8 characters"',
        "000-12-3456, 900-12-3456, 123-00-4567, 123-45-0000, 2026-11-3000",
    ],
)
def test_what_only_looks_like_it_stays(text):
    assert Redactor().text(text) == (text, 0)


def test_json_is_redacted_inside_and_secrets_by_their_names():
    value = {
        "card": 4111111111111111,
        "bob@example.com": 1,
        "eve@example.com": [True, None, 1.5, 10**400],
        "Api-Key": "short",
        "password": {"type": "string"},
    }

    found, count = Redactor().json(value)

    assert found == {
        "card": "[card]",
        "[email]": 1,
        "[email]+": [True, None, 1.5, 10**400],
        "Api-Key": "[secret]",
        "password": {"type": "string"},
    }
    assert count == 4


@pytest.mark.parametrize("value", ["1234567", "030/12 34-56", 5551234])
def test_a_member_that_is_called_a_phone_has_a_number_of_any_form(value):
    assert Redactor().json({"Phone_Number": value}) == ({"Phone_Number": "[phone]"}, 1)


@pytest.mark.parametrize("value", ["iPhone 15", "no", "", 15, 10**400, True, None, ["Tuesday"]])
def test_a_phone_that_is_a_thing_stays(value):
    assert Redactor().json({"phone": value}) == ({"phone": value}, 0)


def test_what_is_deeper_than_any_body_is_left_out():
    value: list = []
    for _ in range(1_000):
        value = [value]

    found, count = Redactor().json(value)

    assert count == 1 and "secret" in json.dumps(found)


def test_arguments_stay_json():
    assert Redactor().arguments('{"card": 4111111111111111}') == ('{"card": "[card]"}', 1)
    assert Redactor().arguments('{"a":1}') == ('{"a":1}', 0)
    assert Redactor().arguments('{"to": "bob@example.com') == ('{"to": "[email]', 1)
    assert Redactor().arguments('"a@b.com"') == ('"[email]"', 1)


def test_all_texts_of_a_trace_are_redacted_and_counted():
    whole = Trace(
        time=datetime(2026, 11, 30, tzinfo=UTC),
        request_id="r1",
        tenant="acme",
        tier="paid",
        body={"messages": [{"role": "user", "content": "I am a@b.com"}]},
        answer="Hello a@b.com, c@d.com",
        tool_calls=({"name": "mail", "arguments": '{"to": "a@b.com"}'},),
        signals={"why": "203.0.113.9"},
    )

    found = Redactor().trace(whole)

    assert found.body == {"messages": [{"role": "user", "content": "I am [email]"}]}
    assert found.answer == "Hello [email], [email]"
    assert found.tool_calls == ({"name": "mail", "arguments": '{"to": "[email]"}'},)
    assert found.signals == {"why": "[ip]"}
    assert found.redactions == 5


def test_a_hook_sees_each_text_without_what_the_patterns_took_out():
    seen = []

    def hook(text: str) -> str:
        seen.append(text)
        return text.replace("Alice", "[name]")

    found = Redactor(hook).json({"text": "Alice, a@b.com", "n": 1})

    assert found == ({"text": "[name], [email]", "n": 1}, 2)
    assert seen == ["text", "Alice, [email]", "n"]


def test_a_hook_that_returns_no_text_is_a_fault():
    with pytest.raises(HookError):
        Redactor(lambda _: None).text("x")


def test_a_text_that_comes_again_is_not_looked_through_again(monkeypatch):
    monkeypatch.setattr("evals.traces.redaction.MAX_REMEMBERED", 2)
    seen = []
    redactor = Redactor(lambda text: seen.append(text[:1]) or text)
    texts = ["a" * 80, "b@c.de " + "b" * 80, "c" * 80]

    found = [redactor.text(texts[at]) for at in (0, 1, 0, 1, 2, 1, 0)]

    assert found[1] == found[3] == found[5] == ("[email] " + "b" * 80, 1)
    assert found[0] == found[2] == found[6] == (texts[0], 0)
    # The first was forgotten for the third.
    assert seen == ["a", "[", "c", "a"]


@pytest.mark.parametrize("value", ["aa", ["a1", "b2"], 1234, 0, 12.5])
def test_a_secret_is_one_as_a_number_and_in_a_list_too(value):
    assert Redactor().json({"x": {"Pin": value}}) == ({"x": {"Pin": "[secret]"}}, 1)


@pytest.mark.parametrize("value", ["", [], None, True, {"type": "string"}])
def test_what_only_speaks_of_a_secret_stays(value):
    assert Redactor().json({"password": value}) == ({"password": value}, 0)
