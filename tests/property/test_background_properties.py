"""What must always hold of requests that nobody waits for, in a lane that is full."""

from hypothesis import given
from hypothesis import strategies as st

from router.admission.fair_queue import MAX_OVERTAKES
from router.admission.lane_queue import LaneQueue, QueueConfig
from router.admission.ticket import SlotRequest, Stage, Ticket, Tier

PAID = Tier("paid")

arrivals = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=60)


def served(asked: list[tuple[str, bool]]) -> list[int]:
    """Return the order in which a lane of one slot starts these requests, which all wait."""
    lane = LaneQueue(QueueConfig(), 1)
    running = lane.submit(SlotRequest(PAID, "other", 10), 0.0)
    tickets = [
        lane.submit(SlotRequest(PAID, tenant, 10, is_background=is_background), 0.0)
        for tenant, is_background in asked
    ]
    order: list[int] = []
    waiting: dict[Ticket, int] = {ticket: number for number, ticket in enumerate(tickets)}
    while waiting:
        lane.release(running, 0, 0.0)
        running = next(ticket for ticket in waiting if ticket.stage is Stage.RUNNING)
        order.append(waiting.pop(running))
    return order


@given(arrivals)
def test_whose_turn_it_is_does_not_depend_on_what_is_background(asked):
    """Fairness is between tenants: a mark helps and harms nobody else."""
    plain = [(tenant, False) for tenant, _ in asked]

    marked_order, plain_order = served(asked), served(plain)

    assert [asked[n][0] for n in marked_order] == [asked[n][0] for n in plain_order]


@given(arrivals)
def test_a_tenants_others_go_first_and_not_for_ever(asked):
    """One goes before an other of its tenant only after the full bound of those."""
    order = served(asked)
    for tenant in "abc":
        kinds = [asked[n][1] for n in order if asked[n][0] == tenant]
        overtakes = 0
        for at, is_background in enumerate(kinds):
            if not is_background:
                overtakes += any(kinds[at:])
                assert overtakes <= MAX_OVERTAKES
                continue
            assert overtakes == MAX_OVERTAKES or all(kinds[at:])
            overtakes = 0


@given(arrivals)
def test_requests_of_one_kind_keep_their_order(asked):
    order = served(asked)
    for kind in {*asked}:
        numbers = [n for n in order if asked[n] == kind]
        assert numbers == sorted(numbers)
