"""What comes in from an engine, and what goes out to a client: both twins, step by step."""

from __future__ import annotations

import gc
import weakref
from types import MethodType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.protocol.chunks import chunk
from tests.pumps import IS_BUILT, TWINS, twin

SIZES = st.sampled_from([0, 1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 4097, 65_535, 65_536])
GOES_ON = st.sampled_from([True, False, None, 1, 0, ValueError("pushed")])


@pytest.mark.parametrize("name", TWINS)
@given(SIZES | st.integers(1, 5000), st.sampled_from([bytes, bytearray, memoryview]))
def test_a_piece_is_written_as_one_chunk(name, size, kind):
    written, line = [], SimpleNamespace(is_full=False)
    chunks = twin(name).Chunks(line, written.append, None)
    chunks.streams = True

    assert chunks.write(kind(b"x" * size)) is None
    assert written == ([chunk(b"x" * size)] if size else [])


@pytest.mark.parametrize("name", TWINS)
def test_what_is_no_chunk_of_its_own_is_taken_otherwise(name):
    written, apart, later = [], [], []
    line = SimpleNamespace(is_full=False, drained=lambda: "drained")
    chunks = twin(name).Chunks(line, written.append, apart.append)

    assert chunks.write(b"a") is None
    line.is_full = True
    assert chunks.write(b"b") == "drained"
    chunks.streams = True
    assert chunks.write(b"c") == "drained"
    chunks.close(later.append)
    chunks.write(b"d")

    assert (apart, written, later, chunks.streams) == ([b"a", b"b"], [chunk(b"c")], [b"d"], False)


def heard(name, pieces):
    """All that a feed's owner hears of pieces, each with what pushing it comes to."""
    said, answers = [], [answer for _, answer in pieces]

    def push(data):
        said.append(("push", data, feed.heard_at))
        # What is not pushed has no answer to be taken.
        answer = answers[int(data)]
        if isinstance(answer, Exception):
            raise answer
        return answer

    times = iter(range(1, len(pieces) + 1))
    feed = twin(name).Feed(
        lambda data: said.append(("other", data)),
        lambda error: said.append(("finish", error, feed.push)),
        lambda: float(next(times)),
    )
    feed.push = push
    for number, (between, _) in enumerate(pieces):
        feed.is_between_chunks = between
        feed.data_received(b"%d" % number)
    return said


@IS_BUILT
@given(st.lists(st.tuples(st.booleans(), GOES_ON), max_size=6))
def test_both_twins_tell_the_same_in_the_same_order(pieces):
    assert heard("native", pieces) == heard("python", pieces)


@pytest.mark.parametrize("name", TWINS)
def test_what_was_not_pushed_is_taken_otherwise_and_an_end_is_told_once(name):
    error = ValueError("pushed")
    pieces = [(True, True), (True, None), (False, True), (True, error), (True, True)]

    assert heard(name, pieces) == [
        ("push", b"0", 1.0),
        ("push", b"1", 2.0),
        ("other", b"1"),
        ("other", b"2"),
        ("push", b"3", 4.0),
        ("finish", error, None),
        ("other", b"4"),
    ]


@pytest.mark.parametrize("name", TWINS)
def test_after_the_end_nobody_is_told(name):
    said = []
    feed = twin(name).Feed(said.append, said.append, float)
    feed.push = said.append
    feed.close()
    feed.data_received(b"late")

    assert (said, feed.push) == ([], None)


@pytest.mark.parametrize("name", TWINS)
def test_what_a_push_raised_is_not_held(name):
    """By the frame that it passed, it would be left to the collector of cycles."""
    raised = []

    class Fault(Exception):
        pass

    def push(_):
        fault = Fault()
        raised.append(weakref.ref(fault))
        try:
            raise fault
        finally:
            del fault

    feed = twin(name).Feed(lambda _: None, lambda _: None, lambda: 0.0)
    feed.push, feed.is_between_chunks = push, True
    gc.disable()
    try:
        feed.data_received(b"x")
        assert raised[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("name", TWINS)
def test_what_is_no_bytes_is_refused_and_nothing_written(name):
    written, line = [], SimpleNamespace(is_full=False)
    chunks = twin(name).Chunks(line, written.append, None)
    chunks.streams = True
    for wrong in (3, [1], "text", None):
        with pytest.raises(TypeError):
            chunks.write(wrong)
    assert written == []


@pytest.mark.parametrize("name", TWINS)
def test_another_function_that_is_bound_to_a_pump_is_not_passed_by(name):
    seen = []

    def look(pump, data):
        seen.append(data)
        return True

    kind = twin(name).Pump
    pump = kind.__new__(kind)
    feed = twin(name).Feed(None, None, lambda: 0.0)
    feed.push, feed.is_between_chunks = MethodType(look, pump), True
    feed.data_received(b"x")

    assert seen == [b"x"]
