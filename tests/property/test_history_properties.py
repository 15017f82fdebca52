"""What must always hold of where a conversation is cut."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from router.routing.history import HistoryBudget, Kind, Piece, plan_history
from tests.examples import examples

IDS = st.sampled_from("ab")
tokens = st.integers(1, 40)

# Any order of anything: what a broken client may send.
wild_pieces = st.one_of(
    st.tuples(st.just(Kind.PINNED), tokens),
    st.tuples(st.just(Kind.USER), tokens),
    st.tuples(st.just(Kind.MODEL), tokens, st.lists(IDS, max_size=2).map(tuple)),
    st.tuples(st.just(Kind.RESULT), tokens, st.just(()), st.lists(IDS, max_size=2).map(tuple)),
).map(lambda fields: Piece(*fields))


@st.composite
def budgets(draw):
    high = draw(st.integers(2, 150))
    return HistoryBudget(high, draw(st.integers(1, high - 1)))


@st.composite
def wild(draw):
    # Drawn by length first: lists left to themselves are too short to be cut.
    length = draw(st.integers(0, 24))
    return draw(st.lists(wild_pieces, min_size=length, max_size=length))


@st.composite
def orderly(draw):
    """A conversation as agents lead it: system, user, rounds of calls, an answer.

    Users interrupt: they write again while a tool runs.
    """
    pieces = [Piece(Kind.PINNED, draw(tokens))]
    for turn in range(draw(st.integers(1, 8))):
        pieces.append(Piece(Kind.USER, draw(tokens)))
        for step in range(draw(st.integers(0, 2))):
            calls = tuple(f"{turn}.{step}.{n}" for n in range(draw(st.integers(1, 3))))
            pieces.append(Piece(Kind.MODEL, draw(tokens), calls=calls))
            pieces += [Piece(Kind.USER, n) for n in draw(st.lists(tokens, max_size=1))]
            pieces += [Piece(Kind.RESULT, draw(tokens), answers=(call,)) for call in calls]
        pieces.append(Piece(Kind.MODEL, draw(tokens)))
    return pieces


conversations = wild() | orderly()


def kept(pieces, plan):
    """The pieces that reach the engine."""
    found = []
    for index, piece in enumerate(pieces):
        if piece.kind is not Kind.PINNED and index < plan.cut:
            continue
        left = tuple(call for call in piece.answers if (index, call) not in plan.torn)
        if left or not piece.answers:
            found.append(piece._replace(answers=left))
    return found


def history_tokens(pieces):
    return sum(piece.tokens for piece in pieces if piece.kind is not Kind.PINNED)


@given(conversations, budgets())
def test_what_is_kept_begins_with_a_user_message(pieces, budget):
    """A chat template expects one after the system prompt."""
    plan = plan_history(pieces, budget)

    assert all(pieces[cut].kind is Kind.USER for cut in plan.cuts)


@given(conversations, budgets())
def test_nothing_pinned_is_ever_dropped(pieces, budget):
    """System and developer messages stay, in their order."""
    left = kept(pieces, plan_history(pieces, budget))

    assert [p for p in left if p.kind is Kind.PINNED] == [
        p for p in pieces if p.kind is Kind.PINNED
    ]


# Late results are rare even here.
@examples(400)
@given(conversations, budgets())
def test_a_result_and_its_call_are_kept_or_dropped_together(pieces, budget):
    """Whatever the order in which they come, and however often an id is used."""
    plan = plan_history(pieces, budget)

    made: dict[str, int] = {}
    for index, piece in enumerate(pieces):
        for call in piece.answers:
            if call not in made:
                continue
            call_is_kept = made[call] >= plan.cut
            result_is_kept = index >= plan.cut and (index, call) not in plan.torn
            # A call whose result comes too late goes with it; nothing else is torn.
            assert call_is_kept == result_is_kept
        made |= dict.fromkeys(piece.calls, index)


@given(orderly(), budgets())
def test_no_result_of_an_orderly_conversation_is_torn(pieces, budget):
    """Results that come when they are due are in the turn of their call."""
    assert plan_history(pieces, budget).torn == frozenset()


@given(orderly(), budgets())
def test_what_is_kept_is_under_the_high_watermark_whenever_it_can_be(pieces, budget):
    """Over it stays only a newest turn that is too long by itself."""
    plan = plan_history(pieces, budget)

    is_answered = any(
        piece.kind is Kind.MODEL and not piece.calls and after.kind is Kind.USER
        for piece, after in pairwise(pieces[plan.cut :])
    )
    assert plan.kept_tokens <= budget.high_tokens or not is_answered


@given(conversations, st.integers(0, 20))
def test_nothing_changes_under_the_high_watermark(pieces, room):
    """The conversation passes as it came."""
    budget = HistoryBudget(max(2, history_tokens(pieces) + room), 1)

    plan = plan_history(pieces, budget)

    assert plan.cuts == ()
    assert kept(pieces, plan) == pieces


@given(conversations, budgets())
def test_the_counts_are_those_of_the_pieces(pieces, budget):
    """Kept and dropped tokens, without what is pinned."""
    plan = plan_history(pieces, budget)

    assert plan.kept_tokens == history_tokens(pieces[plan.cut :])
    assert plan.dropped_tokens == history_tokens(pieces[: plan.cut])


@given(conversations, budgets())
def test_the_cut_only_moves_on_and_each_request_finds_the_places_of_those_before(pieces, budget):
    """The replay of a longer conversation goes through the cuts of the shorter one."""
    cuts = plan_history(pieces, budget).cuts

    assert list(cuts) == sorted(set(cuts))
    for length in range(len(pieces)):
        earlier = plan_history(pieces[:length], budget).cuts
        assert cuts[: len(earlier)] == earlier


@given(conversations, budgets())
def test_a_move_is_told_by_the_request_that_makes_it(pieces, budget):
    """Against what the request before it found: all up to the model's newest answer."""
    asked = len(pieces)
    while asked and pieces[asked - 1].kind is not Kind.MODEL:
        asked -= 1
    while asked and pieces[asked - 1].kind is Kind.MODEL:
        asked -= 1

    plan = plan_history(pieces, budget)

    assert plan.moved == (plan.cuts != plan_history(pieces[:asked], budget).cuts)


@given(conversations, budgets())
def test_the_number_of_moves_is_bounded_by_the_distance_of_the_watermarks(pieces, budget):
    """Each pays for itself with what it drops."""
    moves = len(plan_history(pieces, budget).cuts)

    step = min(budget.high_tokens - budget.low_tokens, budget.high_tokens / 2)
    assert moves == 0 or moves < history_tokens(pieces) / step


@given(st.lists(st.integers(1, 5), min_size=1, max_size=9), st.integers(20, 100), st.data())
def test_a_long_conversation_of_short_turns_moves_once_in_many(sizes, high, data):
    """Between two moves the history grows from the low watermark to the high one."""
    budget = HistoryBudget(high, data.draw(st.integers(1, high // 2)))
    pieces = [Piece(kind, n) for n in sizes * 40 for kind in (Kind.USER, Kind.MODEL)]

    plan = plan_history(pieces, budget)

    assert len(plan.cuts) < 2 * history_tokens(pieces) / high
    assert plan.kept_tokens <= high


@given(conversations, budgets())
def test_a_conversation_that_was_cut_is_not_cut_again(pieces, budget):
    """What is kept passes as it is."""
    once = kept(pieces, plan_history(pieces, budget))

    again = plan_history(once, budget)

    assert again.cuts == ()
    assert kept(once, again) == once


@given(conversations, budgets(), tokens)
def test_the_system_prompt_has_no_say(pieces, budget, size):
    """A system prompt that changes from turn to turn moves no cut."""
    plan = plan_history(pieces, budget)

    moved = plan_history([Piece(Kind.PINNED, size), *pieces], budget)

    assert moved.cuts == tuple(cut + 1 for cut in plan.cuts)
    assert (moved.kept_tokens, moved.dropped_tokens) == (plan.kept_tokens, plan.dropped_tokens)
