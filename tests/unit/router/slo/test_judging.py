"""Which objectives a request's end speaks for."""

import pytest

from router.slo.judging import End, Ended, judged
from router.slo.objectives import Objective, Targets

TARGETS = Targets(0.8, 1.2, 4.5, 0.001)
TTFT, FIRST, ANSWER, FAILURES = Objective


def stream(end=End.ANSWERED, took_s=2.0, ttft_s=0.5, first_tokens_s=1.0, **more) -> Ended:
    return Ended(end, took_s, ttft_s, first_tokens_s, 100, is_stream=True, **more)


def left(took_s) -> Ended:
    """A client that had been given nothing."""
    return Ended(End.LEFT, took_s, is_stream=True)


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (stream(), {TTFT: True, FIRST: True, ANSWER: True, FAILURES: True}),
        (
            stream(took_s=9, ttft_s=0.9, first_tokens_s=1.3),
            {TTFT: False, FIRST: False, ANSWER: False, FAILURES: True},
        ),
        (
            stream(took_s=4.5, ttft_s=0.8, first_tokens_s=1.2),
            {TTFT: True, FIRST: True, ANSWER: True, FAILURES: True},
        ),
        # Of fewer than 30 tokens; of none at all; not streamed.
        (stream(first_tokens_s=None), {TTFT: True, ANSWER: True, FAILURES: True}),
        (stream(ttft_s=None, first_tokens_s=None), {ANSWER: True, FAILURES: True}),
        (Ended(End.ANSWERED, 5.0), {ANSWER: False, FAILURES: True}),
        # Failed: it has no time.
        (stream(End.FAILED), {FAILURES: False}),
        (Ended(End.FAILED, 0.0), {FAILURES: False}),
        # The client's own.
        (stream(End.EXCUSED), {}),
        # Nobody waits.
        (stream(is_timed=False), {FAILURES: True}),
        # Left early; left after it was late; left in the middle of a good start.
        (left(0.3), {}),
        (left(0.9), {TTFT: False}),
        (left(5.0), {TTFT: False, ANSWER: False}),
        (stream(End.LEFT, 3.0, 0.1, 0.4), {TTFT: True, FIRST: True}),
        # An engine was at work on a tool call, which is held until it is whole.
        (stream(End.LEFT, 3.0, None, None), {}),
        (Ended(End.LEFT, 3.0), {}),
        (Ended(End.LEFT, 5.0), {ANSWER: False}),
    ],
)
def test_a_request_is_judged_by_what_it_shows(ended, expected):
    """The table of docs/slo.md, row by row."""
    assert dict(judged(ended, TARGETS)) == expected


def test_nothing_is_judged_where_nothing_is_promised():
    """All off."""
    assert judged(stream(), Targets()) == []
    assert judged(stream(End.LEFT, 99.0, None, None), Targets()) == []


@pytest.mark.parametrize(("tokens", "is_judged"), [(400, True), (401, False)])
def test_long_answers_may_be_left_out(tokens, is_judged):
    """They take long however well the service does."""
    targets = Targets(answer_p95_s=4.5, answer_tokens=400)

    found = judged(Ended(End.ANSWERED, 9.0, tokens=tokens), targets)

    assert found == ([(ANSWER, False)] if is_judged else [])
