"""Long tool results: what stays, what is cut, and what is said of it."""

import json

import pytest

from router.agents.cut_json import MAX_CHARS, cut_json
from router.agents.cut_text import cut_text, is_border
from router.agents.shorten import ResultLimit, shorten


def size(text) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def cut_value(value, max_bytes=400):
    text = cut_json(json.dumps(value), max_bytes)
    assert size(text) <= max_bytes
    return json.loads(text)


def test_a_short_text_stays():
    for text in ("", "short", "é" * 100, "x" * 200):
        assert shorten(text, 200) is text
        assert cut_text(text, 200) is text


def test_a_text_keeps_its_head_and_its_tail():
    text = "first " + "middle " * 300 + "last"

    short = shorten(text, 200)

    assert short.startswith("first middle") and short.endswith("middle last")
    kept = size(short) - size(short[short.index("\n[") : short.index("]\n") + 2])
    assert f"[... {size(text) - kept} of {size(text)} bytes cut here ...]" in short
    assert size(short) <= 200


def test_a_text_is_cut_between_lines():
    text = "".join(f"line {n}\n" for n in range(300))

    head, tail = shorten(text, 300).split("[... ")

    assert head.endswith("\n\n") and text.startswith(head[:-1])
    assert tail.partition("]\n")[2].startswith("line ")


def test_where_there_is_no_room_for_the_marker_a_sign_stands_for_it():
    assert cut_text("x" * 100, 20) == "x" * 17 + "…"
    assert cut_text("x" * 100, 2) == "xx"
    assert cut_text("\n".join("abc"), 0) == ""


@pytest.mark.parametrize(
    "cluster",
    ["e\u0301", "👩\u200d🔬", "🇦🇹", "👍\U0001f3fd", "한", "\u1112\u1161\u11ab", "\r\n", "❤\ufe0f",
     "🏴\U000e0067\U000e007f"],
)  # fmt: skip
def test_no_grapheme_cluster_falls_apart(cluster):
    text = cluster * 400
    for max_bytes in range(200, 230):
        head, _, rest = cut_text(text, max_bytes).partition("\n[...")
        tail = rest.partition("]\n")[2]
        assert not head.replace(cluster, "")
        assert not tail.replace(cluster, "")
        assert head and tail


def test_a_cluster_without_an_end_is_cut():
    text = "a" + "\u0301" * 5000

    assert size(cut_text(text, 200)) <= 200


def test_borders_are_at_the_ends_and_between_letters():
    assert is_border("ab", 0) and is_border("ab", 1) and is_border("ab", 2)
    assert is_border("🇦x", 1) and is_border("xé", 1) and not is_border("\uac00\u11ab", 1)


def test_an_array_keeps_its_first_and_its_last_elements():
    rows = [{"id": n, "name": f"row {n}"} for n in range(200)]

    short = cut_value(rows)

    marker = next(row for row in short if isinstance(row, str))
    at = short.index(marker)
    kept = len(short) - 1
    assert short[:at] == rows[:at] and short[at + 1 :] == rows[at + 1 - len(short) :]
    assert at > 1 and len(short) - at > 1
    assert marker == f"[... {200 - kept} of 200 elements cut here ...]"


def test_a_few_long_elements_are_all_kept_in_part():
    short = cut_value([{"page": "a" * 1000}, {"page": "b" * 3000}])

    assert [row["page"][0] for row in short] == ["a", "b"]
    assert all("bytes cut here" in row["page"] for row in short)


def test_where_there_is_no_room_for_them_the_first_is():
    first, marker = cut_value(["a" * 1000, "b" * 1000, "c" * 1000], 150)

    assert first.startswith("aaa") and marker == "[... 2 of 3 elements cut here ...]"


def test_an_object_is_shortened_in_its_longest_values():
    given = {"status": "ok", "html": "<p>" * 1000, "url": "https://example.org/", "tags": [1, 2]}

    short = cut_value(given)

    assert list(short) == list(given)
    assert {name for name in given if short[name] != given[name]} == {"html"}


def test_an_object_of_many_members_keeps_the_first_and_the_last():
    short = cut_value({f"key {n}": n for n in range(500)})

    names = list(short)
    assert names[0] == "key 0" and names[-1] == "key 499"
    assert short["..."] == f"{501 - len(names)} of 500 members cut here"


def test_members_that_fit_by_their_names_alone_are_cut_too():
    given = {f"key {n}": "value " * 20 for n in range(20)}

    assert "..." in cut_value(given, 300)


def test_long_names_are_cut():
    ((name, value),) = cut_value({"k" * 1000: {"a": 1}}).items()

    assert name.startswith("kkk") and value == {"a": 1}


def test_numbers_stay_as_they_were_written():
    text = '{"a": 1.50, "b": 123456789012345678901234567890, "c": "' + "x" * 400 + '"}'

    assert '"a":1.50,"b":123456789012345678901234567890,' in cut_json(text, 200)


def test_what_fits_without_its_whitespace_is_whole():
    value = {"rows": [[n, None, True, {}] for n in range(20)], "e": [], "t": 'a "quoted" é'}

    assert shorten(json.dumps(value, indent=8), 400) == json.dumps(
        value, separators=(",", ":"), ensure_ascii=False
    )


def test_deep_values_are_left_out():
    value = "x" * 500
    for _ in range(60):
        value = [value]

    assert "…" in json.dumps(cut_value(value), ensure_ascii=False)


def test_deep_objects_are_left_out():
    value = "x" * 500
    for _ in range(60):
        value = {"a": value}

    assert size(cut_json(json.dumps(value), 400)) <= 400


@pytest.mark.parametrize("character", ["\x00", '"', "é", "🇦", "\ud800"])
def test_strings_are_cut_by_the_size_that_they_are_written_in(character):
    short = cut_value(character * 2000)

    assert short.startswith(character) and ("bytes cut here" in short or short.endswith("…"))


@pytest.mark.parametrize(
    "text",
    ["plain " * 100, "[1, 2" + " " * 500, "{broken}" * 100, "[NaN]" + " " * 500,
     "[" * 5000 + "]" * 5000, "[1]" + " " * MAX_CHARS, "5" * 500],
)  # fmt: skip
def test_what_is_no_json_or_too_much_is_a_text(text):
    assert cut_json(text, 200) is None
    assert size(shorten(text, 200)) <= 200


@pytest.mark.parametrize("value", [{"a": "x" * 90}, ["x" * 90] * 9, "x" * 90, {"a": [1] * 90}])
def test_the_smallest_limits_hold(value):
    for max_bytes in range(2, 60):
        text = cut_json(json.dumps(value), max_bytes)
        assert size(text) <= max_bytes
        json.loads(text)


def test_a_limit_is_in_tokens_of_a_fixed_rate():
    limit = ResultLimit(max_tokens=1000, bytes_per_token=3.5)

    assert (limit.max_bytes, limit.tokens(14350)) == (3500, 4100)
