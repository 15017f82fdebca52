"""What must always hold of a task's parallel calls: one session where placed, one user in line."""

from hypothesis import given
from hypothesis import strategies as st

from router.admission.lane_queue import LaneQueue, QueueConfig
from router.admission.ticket import SlotRequest, Stage, Tier
from router.placement.affinity import AffinityConfig, ReplicaLoad, TurnFacts, place, session_order
from router.placement.placement import LanePlacement

PAID = Tier("paid")
TENANTS, USERS = "ab", "xyz"

arrivals = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.sampled_from(USERS)), min_size=1, max_size=60
)


def served(asked, slots=1, *, background=False) -> list[int]:
    """Return the order in which a lane starts these requests, which all wait."""
    lane = LaneQueue(QueueConfig(), slots)
    running = [lane.submit(SlotRequest(PAID, "other", 10), 0.0) for _ in range(slots)]
    waiting = {}
    for number, (tenant, user) in enumerate(asked):
        request = SlotRequest(PAID, tenant, 10, user=user, is_background=background)
        waiting[lane.submit(request, 0.0)] = number
    order = []
    while waiting:
        lane.release(running.pop(0), 0, 0.0)
        begun = [ticket for ticket in waiting if ticket.stage is Stage.RUNNING]
        order += [waiting.pop(ticket) for ticket in begun]
        running += begun
    return order


@given(arrivals, st.booleans())
def test_no_user_has_two_turns_while_another_of_its_tenant_has_none(asked, background):
    """Of those who wait: twelve calls of a task let one go before a person's question."""
    order = served(asked, background=background)
    left = {number: asked[number] for number in range(len(asked))}
    last: dict[tuple[str, str], int] = {}
    for at, number in enumerate(order):
        who = asked[number]
        del left[number]
        for other in {x for x in left.values() if x[0] == who[0] and x != who}:
            # Since this user's turn before the last, each other has had one.
            assert who not in last or last.get(other, -1) > last[who]
        last[who] = at


@given(arrivals)
def test_a_users_own_requests_keep_their_order(asked):
    order = served(asked)
    for who in {*asked}:
        numbers = [n for n in order if asked[n] == who]
        assert numbers == sorted(numbers)


@given(arrivals)
def test_whose_turn_it_is_among_tenants_does_not_depend_on_their_users(asked):
    """A tenant with a thousand sessions gets no more than one with a single one."""
    one_user = [(tenant, "x") for tenant, _ in asked]

    order, plain = served(asked), served(one_user)

    assert [asked[n][0] for n in order] == [asked[n][0] for n in plain]


@given(st.integers(1, 40), st.integers(1, 8))
def test_a_person_waits_for_one_call_of_a_task(calls, slots):
    """However many it makes at once, and however many slots there are."""
    asked = [*[("a", "task")] * calls, ("a", "person")]

    order = served(asked, slots)

    assert order.index(calls) <= 1


REPLICAS = [f"r{number}" for number in range(6)]
loads = st.fixed_dictionaries(
    {name: st.builds(ReplicaLoad, st.integers(0, 12), st.just(8)) for name in REPLICAS}
)
sessions = st.lists(st.text("abcdef", min_size=1, max_size=6), min_size=2, max_size=12, unique=True)


@given(sessions, st.integers(1, 6))
def test_the_calls_of_a_task_have_one_home(names, size):
    """Whatever sessions they are of; without a task each session has its own."""
    with_task = [TurnFacts("g", name, task="t\0task\0one") for name in names]

    orders = [session_order(turn, REPLICAS, size) for turn in with_task]

    assert all(order == orders[0] for order in orders)
    assert session_order(TurnFacts("g", names[0]), REPLICAS, size) == session_order(
        TurnFacts("g", names[0], history_tokens=9), REPLICAS, size
    )


@given(loads, sessions, st.integers(2_000, 20_000))
def test_a_task_stays_together_unless_its_replica_is_full(load, names, opening):
    """An opening of 2,000 tokens is worth 25 open requests more, which is over any gap here."""
    for name in names:
        turn = TurnFacts("g", name, system_tokens=opening, task="t\0task\0one")
        order = session_order(turn, REPLICAS, 3)

        placed = place(AffinityConfig(), turn, order, 3, load)

        home = load[order[0]]
        if home.open + 1 <= home.slots:
            assert placed.replica == order[0]


@given(sessions)
def test_a_full_replica_lets_a_tasks_calls_go_elsewhere(names):
    load = {name: ReplicaLoad(0, 8) for name in REPLICAS}
    for name in names:
        turn = TurnFacts("g", name, system_tokens=5_000, task="t\0task\0one")
        order = session_order(turn, REPLICAS, 3)
        full = {**load, order[0]: ReplicaLoad(8, 8)}

        placed = place(AffinityConfig(), turn, order, 3, full)

        assert placed.replica in order[1:3]


@given(sessions)
def test_a_call_that_spilled_takes_no_other_call_along(names):
    """Only its own session is remembered where it went."""
    lane = LanePlacement(AffinityConfig(), "me")
    stats = {name: {} for name in REPLICAS}

    def facts(name):
        return TurnFacts("g", name, 0, 5_000, "t\0task\0one")

    home = lane.choose(facts("main"), stats, 8, now=0.0).replica
    full = {**stats, home: {"open": {"other": 8}}}
    for number, name in enumerate(names):
        now = 10.0 + 2 * number
        assert lane.choose(facts(f"sub-{name}"), full, 8, now=now).replica != home

    assert lane.choose(facts("main"), stats, 8, now=90.0).replica == home
    assert lane.choose(facts("new"), stats, 8, now=90.0).replica == home
