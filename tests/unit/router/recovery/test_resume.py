"""What is done for a stream that broke off, and where it goes on."""

from array import array

import pytest

from router.recovery.resume import (
    Delivered,
    RecoveryAction,
    ResumePoint,
    ResumePointSearch,
    StreamTraits,
    decide,
    next_seed,
    remaining,
)

CHAT = StreamTraits(is_chat=True)


def stream_of(*events, prompt=(1, 2), **fields) -> Delivered:
    delivered = Delivered(prompt=array("I", prompt), **fields)
    for ids, text in events:
        delivered.add(ids, text)
    return delivered


def test_what_has_text_goes_on_by_tokens():
    assert decide(CHAT, stream_of(([7], "a"))) is RecoveryAction.BY_TOKENS


def test_what_has_ended_is_closed_whatever_it_asked_for():
    delivered = stream_of(([7], "a"))
    delivered.is_finished = True

    traits = StreamTraits(is_chat=True, has_logprobs=True)
    assert decide(traits, delivered) is RecoveryAction.CLOSE


@pytest.mark.parametrize(
    "traits",
    [
        {"is_known": False},
        {"copies": 2},
        {"has_logprobs": True},
        {"has_penalties": True},
        {"is_structured": True},
        {"has_echo": True},
        {"reads_history": True},
        {"has_reasoning": True},
        {"has_tools": True},
        {"is_text": False},
    ],
)
def test_what_cannot_go_on_ends(traits):
    assert decide(StreamTraits(is_chat=True, **traits), stream_of(([7], "a"))) is RecoveryAction.END


@pytest.mark.parametrize("part", ["has_tool_call", "has_reasoning"])
def test_a_tool_call_or_a_reasoning_part_under_way_ends(part):
    delivered = stream_of()
    setattr(delivered, part, True)

    assert decide(CHAT, delivered) is RecoveryAction.END


@pytest.mark.parametrize("part", ["has_tool_call", "has_reasoning", "has_content"])
def test_what_cannot_go_on_is_repeated_where_its_words_can_be_recognised(part):
    """Only what goes on by neither ids nor a message."""
    delivered = stream_of()
    setattr(delivered, part, True)
    traits = StreamTraits(is_chat=True, has_tools=True, may_repeat=True)

    assert decide(traits, delivered) is RecoveryAction.REPEAT
    assert decide(traits, stream_of()) is RecoveryAction.RETRY
    plain = StreamTraits(is_chat=True, may_repeat=True)
    assert decide(plain, stream_of(([7], "a"))) is RecoveryAction.BY_TOKENS


def test_text_goes_on_as_a_message_where_the_template_keeps_it():
    """Beside tools, or where an image was in the prompt."""
    delivered = stream_of(([7], "a"))
    for name in ("has_tools", "is_text"):
        traits = StreamTraits(is_chat=True, keeps_whitespace=True, **{name: name != "is_text"})
        assert decide(traits, delivered) is RecoveryAction.BY_MESSAGE


def test_an_engine_that_tells_no_ids_cannot_be_gone_on_from():
    delivered = Delivered()
    delivered.add(None, "a")

    assert decide(CHAT, delivered) is RecoveryAction.END


def test_after_one_token_with_text_nothing_is_asked():
    """And later tokens that showed nothing are generated again."""
    search = ResumePointSearch(stream_of(([1], "a"), ([2], "b"), ([3], ""), ([4], "")))

    assert search.asks is None
    assert search.found == ResumePoint(2)


def test_a_token_inside_a_character_is_left_out():
    """The engine would give its whole prompt back as new text."""
    search = ResumePointSearch(stream_of(([1], "a"), ([2, 3], "b")))

    assert search.asks == [2, 3]
    search.answer("b\ufffd")
    assert search.asks == [2]
    search.answer("b")
    assert search.found == ResumePoint(2)


def test_text_kept_back_for_a_stop_string_is_found_again():
    search = ResumePointSearch(stream_of(([1], ""), ([2], "he"), holds_back=True), hold_chars=3)

    search.answer("hello")

    assert search.found == ResumePoint(2, "llo")


def test_tokens_and_text_that_do_not_agree_have_no_resume_point():
    search = ResumePointSearch(stream_of(([1, 2], "ab")))
    while search.asks is not None:
        search.answer("other")

    assert search.found is None


def test_what_is_left_of_a_limit():
    assert (remaining(None, 3), remaining(5, 3), remaining(2, 3)) == (None, 2, 0)


def test_seeds_of_resumed_answers_differ_and_fit():
    seeds = {next_seed(5, done) for done in range(100)} | {5}

    assert len(seeds) == 101
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_ids_are_asked_for_to_go_on_or_to_count():
    """Beside tools they serve to count, and only where the template keeps the text."""
    for traits, wanted in (
        (CHAT, True),
        (StreamTraits(is_chat=True, has_tools=True), False),
        (StreamTraits(is_chat=True, has_tools=True, keeps_whitespace=True), True),
        (StreamTraits(is_chat=True, has_echo=True, keeps_whitespace=True), False),
    ):
        assert traits.wants_ids is wanted


@pytest.mark.parametrize(("held", "clean"), [("", (1, 1)), ("b", (0, 0))])
def test_tokens_after_the_resume_point_are_forgotten(held, clean):
    """Up to it the text is all there, unless some was kept back."""
    delivered = stream_of(([1], "a"), ([2], ""), holds_back=True)

    delivered.rewind(ResumePoint(1, held))

    assert delivered.ids.tolist() == [1]
    assert (delivered.clean_ids, delivered.clean_chars) == clean


def test_nothing_said_is_asked_again():
    assert decide(CHAT, stream_of()) is RecoveryAction.RETRY
