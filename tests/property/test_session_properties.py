"""What must always hold of the memory of sessions."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.placement.session import (
    Affinity,
    SessionMemory,
    derive_session_id,
    is_session_id,
    session_key,
)

CAPACITY = 4
TTL_S = 10.0


class SessionMachine(RuleBasedStateMachine):
    """Sessions come back, move, fall silent and are pushed out."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.memory = SessionMemory(CAPACITY, TTL_S)
        # What a memory without an expiry would hold: lane, replica and time, the oldest first.
        self.last: dict[str, tuple[str, str, float]] = {}

    @rule(gap=st.floats(0.0, 15.0))
    def time_passes(self, gap):
        self.now += gap

    @rule(
        key=st.sampled_from("abcdefg"),
        lane=st.sampled_from(["chat", "quality"]),
        replica=st.sampled_from(["r1", "r2"]),
    )
    def a_request_comes(self, key, lane, replica):
        affinity = self.memory.note(key, lane, replica, now=self.now)

        _, before, at = self.last.pop(key, ("", "", float("-inf")))
        assert (affinity is Affinity.NEW) == (self.now - at > TTL_S)
        if affinity is not Affinity.NEW:
            assert (affinity is Affinity.HIT) == (before == replica)
        self.last[key] = (lane, replica, self.now)
        if len(self.last) > CAPACITY:
            del self.last[next(iter(self.last))]

    @rule()
    def idle_sessions_are_forgotten(self):
        self.memory.expire(now=self.now)

        assert len(self.memory) == sum(self.fresh().values())

    @invariant()
    def the_counts_match_and_the_bound_holds(self):
        assert len(self.memory) <= CAPACITY
        assert self.memory.recent(now=self.now) == self.fresh()
        assert sum(self.fresh().values()) == len(self.memory)

    def fresh(self) -> Counter[str]:
        """Sessions by lane."""
        return Counter(lane for lane, _, at in self.last.values() if self.now - at <= TTL_S)


TestSessionMachine = SessionMachine.TestCase


@given(st.lists(st.text(), max_size=3))
def test_a_derived_id_is_always_a_valid_session_id(opening):
    """Whatever a conversation opens with, its id can go into a header."""
    session_id = derive_session_id(*opening)

    assert is_session_id(session_id)
    assert session_id.isascii()


# Drawn printable rather than filtered: most of Unicode is.
PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
NAMES = st.text(PRINTABLE, max_size=20)
IDS = st.text(PRINTABLE, min_size=1, max_size=40).filter(is_session_id)


@given(NAMES, NAMES, IDS, IDS)
def test_two_tenants_never_share_a_session_key(tenant, other, session_id, other_id):
    """A session id, being printable, cannot reach across the separator."""
    same = (tenant, session_id) == (other, other_id)

    assert (session_key(tenant, session_id) == session_key(other, other_id)) == same
