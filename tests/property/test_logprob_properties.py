"""Log-probabilities are cut out of any answer, and nothing else is."""

import json

from hypothesis import given
from hypothesis import strategies as st

from serve_app.protocol.logprobs import StrippingReader, logprobs_of, without_logprobs

texts = st.text(st.sampled_from('ab"\\{}[]:,\n é"logprobs":{') | st.characters(), max_size=12)
tokens = st.fixed_dictionaries(
    {
        "token": texts,
        "logprob": st.floats(-9999, 0),
        "bytes": st.none() | st.lists(st.integers(0, 255), max_size=3),
        "top_logprobs": st.lists(
            st.fixed_dictionaries({"token": texts, "bytes": st.just([93, 125])}), max_size=2
        ),
    }
)
told = st.none() | st.fixed_dictionaries({"content": st.lists(tokens, max_size=3)})


@st.composite
def answers(draw):
    """An answer with several choices, and the same without log-probabilities."""
    made = []
    for index in range(draw(st.integers(1, 3))):
        text, known = draw(texts), draw(told)
        made.append({"index": index, "delta": {"content": text}, "logprobs": known})
    envelope = {"id": draw(texts), "choices": made, "after": draw(texts)}
    stripped = {**envelope, "choices": [{**choice, "logprobs": None} for choice in made]}
    return envelope, stripped


def written(answer, *, spaced=False, is_ascii=False):
    marks = (", ", ": ") if spaced else (",", ":")
    return json.dumps(answer, separators=marks, ensure_ascii=is_ascii).encode(
        "utf-8", "surrogatepass"
    )


@given(answers(), st.booleans())
def test_every_other_byte_stays(pair, is_ascii):
    given_, expected = pair

    assert without_logprobs(written(given_, is_ascii=is_ascii)) == written(
        expected, is_ascii=is_ascii
    )


@given(answers())
def test_spaces_do_not_matter(pair):
    given_, expected = pair

    assert json.loads(without_logprobs(written(given_, spaced=True))) == expected


@given(st.lists(answers(), min_size=1, max_size=4), st.integers(1, 40))
def test_a_stream_in_any_pieces_has_none(pairs, size):
    reader, out = StrippingReader(hide_usage=False), b""
    whole = b"".join(b"data: " + written(one, is_ascii=True) + b"\n\n" for one, _ in pairs)

    for at in range(0, len(whole), size):
        out += reader.feed(whole[at : at + size])

    expected = [b"data: " + written(two, is_ascii=True) + b"\n\n" for _, two in pairs]
    assert out == b"".join(expected)


@given(st.binary(max_size=60))
def test_what_is_no_json_is_passed_on(junk):
    """Half an object has no end: it stays as it is."""
    half = b'"logprobs":{' + junk.translate(None, b"]}")

    assert without_logprobs(junk) == junk
    assert without_logprobs(half) == half


@given(st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists, max_leaves=8))
def test_reading_takes_anything(value):
    for choice in ({"logprobs": value}, {"logprobs": {"content": value}}):
        found = logprobs_of(choice)
        assert found is None or all(isinstance(one, float) for one in found)
