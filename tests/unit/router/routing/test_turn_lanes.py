"""Where the turns of agents run."""

import pytest

from router.routing.turn_lanes import MAX_STEPS, TurnLanes
from router.types import HeldLane, Lane, LaneDecision, Reason

CHAT = Lane("chat", "small", 4_000)


def went(reason=Reason.DEFAULT) -> LaneDecision:
    return LaneDecision(CHAT, reason, 0.4, 0.5)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (Reason.COMPLEX, Reason.STICKY),
        (Reason.CASCADE, Reason.STICKY),
        (Reason.FRONTIER, Reason.STICKY),
        (Reason.PLANNING, Reason.STICKY),
        (Reason.YIELDED, Reason.STICKY),
        (Reason.STICKY, Reason.STICKY),
        (Reason.DEFAULT, Reason.DEFAULT),
        (Reason.TIER, Reason.TIER),
        (Reason.TOOLS, Reason.TOOLS),
        (Reason.LONG_CONTEXT, Reason.LONG_CONTEXT),
    ],
)
def test_the_reason_of_a_later_step(first, later):
    """It is `sticky` where the step would not be there by itself."""
    turns = TurnLanes()

    turns.note("a", went(first), 0.0)

    assert turns.find("a", 1.0) == HeldLane("chat", later)
    assert turns.find("b", 1.0) is None


def test_turns_that_were_not_seen_for_long_are_forgotten():
    """A step makes a turn new again."""
    turns = TurnLanes(idle_s=10.0)
    turns.note("a", went(), 0.0)
    turns.note("b", went(), 5.0)
    turns.note("a", went(), 9.0)

    assert turns.find("b", 15.0) is None
    assert turns.find("a", 15.0) is not None
    assert len(turns) == 1


def test_the_table_is_bounded():
    """The turn that was seen longest ago goes first."""
    turns = TurnLanes(max_turns=2)
    for number, turn in enumerate(("a", "b", "a", "c")):
        turns.note(turn, went(), float(number))

    assert [turns.find(turn, 4.0) is not None for turn in "abc"] == [True, False, True]


def step() -> LaneDecision:
    return LaneDecision(CHAT, Reason.STICKY)


@pytest.mark.parametrize(
    "first",
    [went(Reason.COMPLEX), went(Reason.STICKY), LaneDecision(CHAT, Reason.STICKY, is_adopted=True)],
    ids=["went up", "stayed up", "went up elsewhere"],
)
def test_a_turn_that_went_up_is_looked_at_anew_in_the_end(first):
    """Its tools bring whatever its client says they do."""
    turns = TurnLanes()
    turns.note("a", first, 0.0)
    for _ in range(MAX_STEPS - 2):
        turns.note("a", step(), 1.0)
    assert turns.find("a", 2.0) is not None

    turns.note("a", step(), 2.0)
    assert turns.find("a", 3.0) is None

    turns.note("a", LaneDecision(CHAT, Reason.STICKY, is_adopted=True), 3.0)
    assert turns.find("a", 4.0) is not None


def test_a_turn_that_came_down_stays_down():
    """Where its tenant could not pay for more, it does not go up and down from then on."""
    turns = TurnLanes()
    turns.note("a", went(Reason.COMPLEX), 0.0)
    for _ in range(MAX_STEPS):
        turns.note("a", step(), 1.0)
    below = Lane("agent", "tools", 4_000)

    turns.note("a", LaneDecision(below, Reason.YIELDED), 2.0)
    for _ in range(2 * MAX_STEPS):
        turns.note("a", LaneDecision(below, Reason.STICKY), 3.0)

    assert turns.find("a", 4.0) == HeldLane("agent", Reason.STICKY)


def test_a_turn_below_has_no_end():
    """It is where it would be anyway."""
    turns = TurnLanes()
    for _ in range(2 * MAX_STEPS):
        turns.note("a", went(), 0.0)

    assert turns.find("a", 1.0) is not None
