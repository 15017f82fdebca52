"""Tenants whose KV budget is used up: who is held back, who passes by, who is refused."""

from router.admission.kv_budget import KvAsk
from router.admission.saturation import Level
from router.admission.ticket import Stage, Tier
from router.errors import RejectReason
from tests.unit.router.admission.lanes import QueuedLane, stages

PAID = Tier("paid", 0, start_within_s=10.0)
FREE = Tier("free", 10, sheddable=True, start_within_s=60.0)
PATIENT = Tier("patient", 0)
LIMIT = 1000


class Lane(QueuedLane):
    """A lane in which tenants may hold 1,000 tokens, and a request asks for 400."""

    def __init__(self, capacity=8, **config) -> None:
        super().__init__(capacity, **config)

    def ask(self, tenant="a", tier=PAID, prompt=300, output=100, limit=LIMIT, copies=1, user=""):
        kv = None if limit is None else KvAsk(limit, prompt, output)
        return self.submit(tier, tenant, prompt, copies, kv, user=user)


def code(ticket):
    return ticket.refused.reason


def test_a_tenant_over_its_budget_waits_and_others_pass_by():
    """Two of its requests fit; slots are empty all the while."""
    lane = Lane()
    mine = [lane.ask() for _ in range(4)]
    other = lane.ask("b")

    assert stages(*mine, other) == ["running", "running", "waiting", "waiting", "running"]
    assert lane.queue.kv.tokens == 1200 and lane.queue.depths() == {"paid": 2}
    lane.end(mine[0])

    assert stages(*mine) == ["done", "running", "running", "waiting"]
    assert lane.changes == [mine[2]]


def test_a_request_larger_than_the_budget_runs_alone():
    """It waits until its tenant holds nothing, and the next one waits for it."""
    lane = Lane()
    small, large, last = lane.ask(), lane.ask(prompt=5000), lane.ask()

    assert stages(small, large, last) == ["running", "waiting", "waiting"]
    lane.end(small)
    assert stages(large, last) == ["running", "waiting"]
    lane.end(large)
    assert stages(last) == ["running"]


def test_an_answer_longer_than_reserved_counts():
    """Up to the reservation it is paid for; beyond it the next request has to wait."""
    lane = Lane()
    first, second = lane.ask(), lane.ask()
    first.deliver(100)
    assert lane.queue.kv.tokens == 800
    first.deliver(400)
    assert lane.queue.kv.tokens == 1100

    lane.end(second)
    third = lane.ask()
    assert stages(third) == ["waiting"]
    lane.end(first, 500)

    assert stages(third) == ["running"]
    assert lane.queue.kv.tokens == 400


def test_a_tenant_without_a_budget_is_not_held_back():
    """And one that has a larger one since, with its next request."""
    lane = Lane()
    assert stages(*[lane.ask("x", limit=None) for _ in range(4)]) == ["running"] * 4
    lane.ask(), lane.ask()
    assert stages(lane.ask()) == ["waiting"]
    assert stages(lane.ask(limit=5000)) == ["waiting"]


def test_who_leaves_while_it_is_held_back_leaves_nothing():
    """A client that hangs up; the one behind it fits."""
    lane = Lane()
    lane.ask(prompt=500)
    large, small = lane.ask(prompt=800), lane.ask(prompt=100)
    assert stages(large, small) == ["waiting", "waiting"]

    lane.end(large)

    assert stages(large, small) == ["done", "running"]
    lane.end(large)
    assert lane.queue.kv.tokens == 800


def test_the_budget_is_held_while_a_request_waits_for_a_slot():
    """And given back when it is refused there."""
    lane = Lane(capacity=1)
    running = lane.ask("b")
    queued, behind = lane.ask(tier=FREE), lane.ask(prompt=800, tier=FREE)
    assert lane.queue.kv.waiting == 1

    lane.queue.set_level(Level.SHED, 0)

    assert stages(queued, behind) == ["refused", "refused"]
    assert code(queued) == code(behind) == RejectReason.SHED
    assert lane.queue.kv.tokens == 400 and lane.queue.kv.waiting == 0
    lane.end(running)


def test_a_sheddable_request_refused_at_the_door_holds_nothing():
    """Its lane sheds."""
    lane = Lane()
    lane.ask("a", FREE)
    lane.queue.set_level(Level.SHED, 0)
    refused, held_back = lane.ask("b", FREE), lane.ask("a", FREE, prompt=900)

    assert stages(refused, held_back) == ["refused", "refused"]
    assert code(held_back) is RejectReason.SHED
    assert lane.queue.kv.tokens == 400


def test_past_its_deadline_it_is_its_tenant_s_own_matter():
    """No sheddable work is evicted or shed for it, though it is protected."""
    lane = Lane(capacity=2)
    mine, free = lane.ask(prompt=900), lane.ask("b", FREE)
    waits, free_waits = lane.ask(), lane.ask("c", FREE)

    lane.wait(10)

    assert stages(mine, free, waits, free_waits) == ["running", "running", "refused", "waiting"]
    assert code(waits) is RejectReason.TENANT_CONCURRENCY
    assert waits.refused.retry_after_s >= 1


def test_sheddable_work_that_is_held_back_is_sheddable_work_all_the_same():
    """Peers are told of it, and it is shed before protected work is refused."""
    lane = Lane(capacity=2)
    begun, running = lane.ask("f", FREE, prompt=900), lane.ask("p")
    lane.queue.begin(begun)
    held_back, paid = lane.ask("f", FREE), lane.ask("q")
    assert lane.queue.preemption.sheddable_held() == 1 and lane.queue.next_at(0.0) is not None

    lane.wait(10)

    assert stages(begun, running, held_back, paid) == ["running", "running", "refused", "refused"]
    assert code(held_back) is RejectReason.SHED
    assert lane.changes == [held_back, paid]


def test_in_a_full_queue_who_is_held_back_goes_first():
    """It could not start anyway; a tenant that floods takes nobody else's place."""
    lane = Lane(capacity=1, max_queued=3)
    lane.ask("a", prompt=900)
    mine = [lane.ask() for _ in range(3)]
    assert stages(*mine, lane.ask()) == ["waiting", "waiting", "waiting", "refused"]

    other = lane.ask("b")

    assert stages(*mine, other) == ["waiting", "waiting", "refused", "waiting"]
    assert code(mine[2]) is RejectReason.TENANT_CONCURRENCY
    free = lane.ask("c", FREE)
    assert stages(*mine[:2], free) == ["waiting", "waiting", "refused"]


def test_who_is_let_in_by_a_refusal_starts():
    """The one before it was too wide for the slots that were empty."""
    lane = Lane(capacity=4)
    others = [lane.ask("b", limit=None) for _ in range(2)]
    wide, narrow = lane.ask(copies=3, prompt=800), lane.ask(tier=PATIENT)
    assert stages(wide, narrow) == ["waiting", "waiting"]

    lane.wait(10)

    assert stages(*others, wide, narrow) == ["running", "running", "refused", "running"]


def test_a_tenant_that_was_held_back_earns_no_credit_for_it():
    """It comes back level with those who waited, as from idle."""
    lane = Lane(capacity=3)
    mine = lane.ask("a", PATIENT, prompt=600, output=400)
    busy = [lane.ask("b", PATIENT, prompt=100, limit=None) for _ in range(2)]
    held_back = lane.ask("a", PATIENT)
    for _ in range(20):
        lane.ask("b", PATIENT, prompt=100, limit=None)
        lane.end(busy.pop(0), 200)
        busy += [t for t in lane.changes if t.stage is Stage.RUNNING]
        lane.changes.clear()
    waiting = [lane.ask("b", PATIENT, prompt=100, limit=None) for _ in range(2)]
    assert held_back.account.counter < waiting[0].account.counter - 5000

    lane.end(mine)
    assert abs(held_back.account.counter - waiting[0].account.counter) <= 100
    lane.end(busy[0])

    assert stages(held_back, *waiting) == ["running", "running", "waiting"]


def test_users_of_a_tenant_over_its_budget_take_turns():
    """A task that holds it all lets one of its calls go before another user's request."""
    lane = Lane()
    task = [lane.ask(user="task") for _ in range(6)]
    other = lane.ask(user="person")
    lane.end(task[0])
    assert stages(*task[2:], other) == ["running", *["waiting"] * 3, "waiting"]

    lane.end(task[1])

    assert stages(*task[3:], other) == [*["waiting"] * 3, "running"]
