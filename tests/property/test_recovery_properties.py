"""Whatever breaks wherever: no text is lost or repeated, and retries stay bounded."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from router.recovery.breaker import TRIAL_S, WITNESS_S, BreakerConfig, Breakers
from router.recovery.resume import (
    Delivered,
    RecoveryAction,
    ResumePoint,
    ResumePointSearch,
    StreamTraits,
    decide,
)
from router.recovery.stops import StopMatcher
from tests.examples import examples
from tests.unit.router.recovery.ejections import is_ejected

# -- a model of an engine: tokens of bytes, a detokenizer, stop strings ------------


def text_of(tokens) -> str:
    return b"".join(tokens).decode("utf-8", "replace")


@dataclass
class Event:
    first: int
    last: int
    text: str
    stop: str | None = None
    is_last: bool = False


def engine(tokens, start, stops, sizes):
    """Events of an answer from token `start` on, as vLLM gives them.

    Text waits for whole characters; with stop strings the last characters wait too.
    """
    hold = max((len(stop) for stop in stops), default=1) - 1
    delivered, given, text, at = start, 0, "", start
    sizes = iter(sizes)
    while at < len(tokens):
        upto = min(len(tokens), at + next(sizes, 1))
        stop = None
        for end in range(at + 1, upto + 1):
            new = text_of(tokens[delivered:end])
            if new.endswith("\ufffd") and end < len(tokens):
                continue
            before, delivered = len(text), end
            text += new
            found = [
                (text.find(s, max(0, before - len(s) + 1)) + len(s), order, s)
                for order, s in enumerate(stops)
                if text.find(s, max(0, before - len(s) + 1)) >= 0
            ]
            if found:
                end_at, _, stop = min(found)
                text, upto = text[: end_at - len(stop)], end
                break
        is_last = stop is not None or upto == len(tokens)
        shown = max(given, len(text) if is_last else len(text) - hold)
        yield Event(at, upto, text[given:shown], stop, is_last)
        given, at = shown, upto
        if is_last:
            return


def answers():
    """Tokens of an answer: bytes of a text, cut anywhere, also inside characters."""
    alphabet = st.sampled_from("aé🙂b ")
    cuts = st.lists(st.integers(1, 3), min_size=1, max_size=12)

    def split(drawn):
        raw, sizes = drawn[0].encode(), drawn[1]
        tokens, at, index = [], 0, 0
        while at < len(raw):
            size = sizes[index % len(sizes)]
            tokens.append(raw[at : at + size])
            at, index = at + size, index + 1
        return tokens

    return st.tuples(st.text(alphabet, min_size=4, max_size=20), cuts).map(split)


sizes = st.lists(st.integers(1, 4), min_size=4, max_size=12)
stop_lists = st.just([]) | st.lists(
    st.text(st.sampled_from("aéb "), min_size=1, max_size=4), max_size=2
)


def deliver(events, delivered, stop_after):
    """Take events until the connection breaks; whether the answer was whole."""
    for number, event in enumerate(events):
        if number == stop_after:
            return None
        delivered.add(range(event.first, event.last), event.text)
        if event.is_last:
            return event
    return None


breaks = st.lists(st.tuples(st.integers(0, 8), sizes), min_size=1, max_size=3)


@examples(400)
@given(answers(), stop_lists, sizes, breaks)
def test_no_text_is_lost_or_repeated_for_any_cuts(tokens, stops, first_sizes, broken):
    """However tokens fall into events and wherever streams break, the text is the same."""
    *_, last = engine(tokens, 0, stops, first_sizes)
    undisturbed = "".join(e.text for e in engine(tokens, 0, stops, first_sizes))
    hold = max((len(stop) for stop in stops), default=1) - 1
    delivered = Delivered(holds_back=hold > 0)

    first = engine(tokens, 0, stops, first_sizes)
    ended = deliver(first, delivered, stop_after=broken[0][0])
    stop = ended.stop if ended else None
    for stop_after, next_sizes in [*broken[1:], (None, first_sizes)]:
        if ended is not None:
            break
        point = found_point(delivered, tokens, hold)
        assert point is not None
        matcher = StopMatcher(stops, delivered.text, includes=False)
        delivered.rewind(point)
        ended, stop = resume(delivered, tokens, point, matcher, next_sizes, stop_after)

    assert delivered.text == undisturbed
    assert stop == last.stop
    assert list(delivered.ids) == list(range(last.last)) or stops


def found_point(delivered, tokens, hold) -> ResumePoint | None:
    search = ResumePointSearch(delivered, hold)
    while (ids := search.asks) is not None:
        search.answer(text_of(tokens[i] for i in ids))
    return search.found


def resume(delivered, tokens, point, matcher, next_sizes, stop_after):
    """An engine that knows no stop strings goes on; the matcher watches."""
    held = matcher.feed(point.held)
    if held.stop is not None:
        delivered.add([], held.text)
        return Event(0, 0, "", held.stop, True), held.stop
    pending = held.text
    for number, event in enumerate(engine(tokens, point.ids, [], next_sizes)):
        if number == stop_after:
            return None, None
        passed = matcher.feed(event.text)
        text = pending + passed.text
        pending = ""
        if event.is_last and passed.stop is None:
            text += matcher.flush()
        delivered.add(range(event.first, event.last), text)
        if event.is_last or passed.stop is not None:
            return event, passed.stop
    # Every token was there already: only the end is missing.
    delivered.add([], pending + matcher.flush())
    return Event(0, 0, "", None, True), None


traits = st.builds(
    StreamTraits,
    is_chat=st.booleans(),
    is_known=st.booleans(),
    copies=st.integers(1, 2),
    **{
        name: st.booleans()
        for name in (
            "has_tools",
            "has_reasoning",
            "has_logprobs",
            "has_penalties",
            "is_structured",
            "has_echo",
            "reads_history",
            "is_text",
            "keeps_whitespace",
            "is_continuation",
        )
    },
)


@given(traits, st.lists(st.tuples(st.lists(st.integers(0, 9), max_size=2), st.text(max_size=3))))
def test_nothing_given_is_always_retried_and_tokens_are_only_used_where_they_are_known(
    asked, events
):
    """The decision is total, and never goes on from what it does not know."""
    delivered = Delivered()
    for ids, text in events:
        delivered.add(ids if asked.wants_ids else None, text)

    action = decide(asked, delivered)

    if not any(ids or text for ids, text in events) or not delivered.has_content:
        assert action is RecoveryAction.RETRY
    if action is RecoveryAction.BY_TOKENS:
        assert delivered.prompt and not delivered.lacks_ids
    if not asked.can_resume and delivered.has_content:
        assert action is RecoveryAction.END


# -- breaker ------------------------------------------------------------


REPLICAS = ("a", "b", "c", "d")
happenings = st.lists(
    st.tuples(
        st.sampled_from(("choose", "fault", "gone", "success", "confirm")),
        st.sampled_from(REPLICAS),
        st.sampled_from(("acme", "other")),
        st.floats(0, 5),
    ),
    max_size=100,
)


@given(happenings, st.floats(0, 0.9))
def test_a_breaker_always_lets_a_replica_back_in_and_never_avoids_too_many(steps, share):
    """After the longest back-off and a trial's time, every replica may be tried."""
    config = BreakerConfig(eject_share=share)
    breakers = Breakers(config)
    now = 0.0

    for what, replica, tenant, passed_s in steps:
        now += passed_s
        if what == "choose":
            breakers.note_chosen(replica, now=now)
        elif what == "success":
            breakers.note_success(replica, tenant, now=now)
            assert not is_ejected(breakers, replica)
        elif what == "confirm":
            breakers.confirm(replica, now=now)
        else:
            breakers.note_fault(replica, tenant, now=now, is_gone=what == "gone")
        assert len(breakers.avoided(now=now)) <= share * len(REPLICAS)

    later = now + config.eject_max_s + TRIAL_S
    assert breakers.avoided(now=later) == frozenset()


@given(
    st.lists(st.floats(0, 40), min_size=1, max_size=60),
    st.floats(0.1, 29),
    st.integers(1, 5),
)
def test_one_tenant_s_faults_never_eject_from_a_lane_that_answers_another(gaps, every_s, faults):
    """However many, however they lie between the answers, whichever replica gives them."""
    breakers = Breakers(BreakerConfig(eject_after=faults))
    now, answered_at = 0.0, 0.0
    breakers.note_success("b", "other", now=0.0)

    for gap in gaps:
        now += gap
        while answered_at + every_s <= now:
            answered_at += every_s
            breakers.note_success("b", "other", now=answered_at)
        assert not breakers.note_fault("a", "acme", now=now)

    assert not is_ejected(breakers, "a")


@given(st.lists(st.sampled_from(("acme", "other")), min_size=3, max_size=20), st.floats(0, 60))
def test_a_replica_that_answers_nobody_is_ejected(tenants, since_s):
    """By the faults of several tenants at once, by one's when nobody speaks for it."""
    breakers = Breakers(BreakerConfig())
    breakers.note_success("a", "other", now=0.0)
    now = since_s

    ejected = [breakers.note_fault("a", tenant, now=now) for tenant in tenants]

    is_told = len(set(tenants)) > 1 or tenants[0] == "other" or now > WITNESS_S
    assert any(ejected) is is_told
