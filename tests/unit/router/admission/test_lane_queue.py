"""Who starts, who waits and who is refused in one lane."""

import pytest

from router.admission.lane_queue import LaneQueue, QueueConfig
from router.admission.saturation import Level
from router.admission.ticket import SlotRequest, Stage, Tier
from router.errors import RejectReason
from tests.unit.router.admission.lanes import QueuedLane, stages

PAID = Tier("paid", 0, start_within_s=10.0)
FREE = Tier("free", 10, sheddable=True, start_within_s=60.0)
KEPT = Tier("kept", 10, sheddable=True, min_share=0.25)


class Lane(QueuedLane):
    """A lane with a clock and short words."""

    def __init__(self, capacity=2, **config) -> None:
        super().__init__(capacity, **config)

    def ask(self, tier=PAID, tenant="t", copies=1):
        return self.submit(tier, tenant, 10, copies)


def test_a_lane_runs_what_its_engines_run_at_once_and_queues_the_rest():
    """Who waited starts when a slot is given back, and is told so."""
    lane = Lane(capacity=2)
    first, second, third = lane.ask(), lane.ask(), lane.ask()

    assert stages(first, second, third) == ["running", "running", "waiting"]
    lane.end(first)

    assert stages(first, second, third) == ["done", "running", "running"]
    assert lane.changes == [third]


def test_a_request_that_is_over_leaves_no_circle_for_the_garbage_collector():
    """Whoever is told of changes holds the ticket; it lets go of them in the end."""
    lane = Lane(capacity=1, max_queued=1)
    ran, shed, never_ran = lane.ask(), lane.ask(FREE), lane.ask()
    assert stages(ran, shed, never_ran) == ["running", "refused", "waiting"]

    lane.end(ran)
    lane.end(never_ran)

    assert lane.changes == [shed, never_ran]
    assert [ticket.on_change for ticket in (ran, shed, never_ran)] == [None] * 3


def test_protected_work_goes_first_whenever_it_came():
    """Tiers are strict."""
    lane = Lane(capacity=1)
    running = lane.ask()
    free, paid = lane.ask(FREE), lane.ask()

    lane.end(running)

    assert stages(free, paid) == ["waiting", "running"]


def test_a_request_for_several_slots_is_not_passed_by():
    """It waits until they are empty together; those behind it wait, too."""
    lane = Lane(capacity=2)
    running = lane.ask()
    wide, narrow = lane.ask(copies=2), lane.ask()

    assert stages(wide, narrow) == ["waiting", "waiting"]
    lane.end(running)

    assert stages(wide, narrow) == ["running", "waiting"]


class Lent(Lane):
    """Two slots here of four in the lane; the other ingress replica has taken some."""

    def __init__(self, elsewhere, **config) -> None:
        super().__init__(capacity=2, **config)
        self.elsewhere = elsewhere
        self.queue = LaneQueue(self.queue.config, 2, lambda: 0, lambda: self.elsewhere)
        self.queue.set_capacity(2, self.now, 4)


@pytest.mark.parametrize(("elsewhere", "started"), [(0, 4), (1, 3), (2, 2), (None, 2)])
def test_protected_work_starts_in_slots_that_the_others_have_not_taken(elsewhere, started):
    """And no further; what they hold has to be known."""
    lane = Lent(elsewhere)

    tickets = [lane.ask() for _ in range(5)]

    assert stages(*tickets) == started * ["running"] + (5 - started) * ["waiting"]


def test_what_the_others_give_back_is_looked_for():
    """Nobody tells the queue: it asks to be polled."""
    lane = Lent(elsewhere=2)
    tickets = [lane.ask() for _ in range(3)]
    assert lane.queue.next_at(lane.now) == pytest.approx(lane.now + 0.1)

    lane.elsewhere = 1
    lane.wait(0.1)

    assert stages(*tickets) == ["running"] * 3


def test_sheddable_work_borrows_nothing_and_leaves_alone_what_is_lent():
    """It takes no slot beyond its own, and none of its own that protected work took elsewhere."""
    lane = Lent(elsewhere=0)
    free = [lane.ask(KEPT) for _ in range(3)]
    assert stages(*free) == ["running", "running", "waiting"]

    late = Lent(elsewhere=3)
    tickets = [late.ask(KEPT), late.ask(KEPT)]

    assert stages(*tickets) == ["running", "waiting"]


def test_who_leaves_while_waiting_holds_nothing():
    """A client that hangs up in the queue."""
    lane = Lane(capacity=1)
    running, gone, third = lane.ask(), lane.ask(), lane.ask()

    lane.end(gone)
    lane.end(running)

    assert stages(gone, third) == ["done", "running"]
    assert lane.queue.slots.used == 1


def test_sheddable_work_leaves_empty_what_protected_work_needed_lately():
    """Four of eight, and one in reserve; after a while nothing is kept."""
    lane = Lane(capacity=8, reserve_share=0.1, need_decay_s=20.0)
    for ticket in [lane.ask() for _ in range(4)]:
        lane.end(ticket)

    free = [lane.ask(FREE) for _ in range(8)]

    assert stages(*free).count("running") == 3
    lane.wait(20)
    assert stages(*free).count("running") == 8


def test_while_the_lane_is_held_sheddable_work_waits_and_protected_work_does_not():
    """Slots are empty, but the engines have no room."""
    lane = Lane(capacity=4)
    lane.queue.set_level(Level.HOLD, 0)
    free, paid = lane.ask(FREE), lane.ask()

    assert stages(free, paid) == ["waiting", "running"]
    lane.queue.set_level(Level.NORMAL, 0)
    assert stages(free) == ["running"]


def test_a_starving_tier_keeps_its_share_of_what_protected_work_does_not_need():
    """One slot of four, and none while protected work fills the lane."""
    lane = Lane(capacity=4)
    lane.queue.set_level(Level.HOLD, 0)

    assert stages(lane.ask(KEPT), lane.ask(KEPT)) == ["running", "waiting"]

    full = Lane(capacity=4)
    full.queue.set_level(Level.HOLD, 0)
    paid = [full.ask() for _ in range(4)]
    kept = full.ask(KEPT)
    full.end(paid[0])

    assert stages(kept) == ["waiting"]


def test_a_lane_that_sheds_refuses_sheddable_work_that_waits_newest_first():
    """What runs runs on."""
    lane = Lane(capacity=1)
    running, old, new = lane.ask(FREE), lane.ask(FREE), lane.ask(FREE)

    lane.queue.set_level(Level.SHED, 0)

    assert stages(running, old, new) == ["running", "refused", "refused"]
    assert lane.changes == [new, old]
    late = lane.ask(FREE)
    assert (late.refused.reason, stages(lane.ask())) == (RejectReason.SHED, ["waiting"])


def test_a_lane_that_evicts_ends_sheddable_work_that_has_sent_nothing():
    """A stream that has begun is left alone; so is protected work."""
    lane = Lane(capacity=3)
    begun, silent, paid = lane.ask(FREE), lane.ask(FREE), lane.ask()
    lane.queue.begin(begun)

    lane.queue.set_level(Level.EVICT, 0)

    assert stages(begun, silent, paid) == ["running", "evicted", "running"]
    assert silent.refused.reason is RejectReason.SHED
    assert lane.queue.slots.used == 3
    lane.end(silent)
    assert lane.queue.slots.used == 2


@pytest.mark.parametrize("means", ["level", "clear", "make way"])
def test_all_sheddable_work_is_all_of_it_also_where_requests_take_several_slots(means):
    """However it comes that sheddable work must go, none that has sent nothing stays."""
    lane = Lane(capacity=6)
    wide = [lane.ask(FREE, copies=3), lane.ask(FREE, copies=3)]

    if means == "level":
        lane.queue.set_level(Level.EVICT, 0)
    elif means == "clear":
        lane.queue.preemption.drain_sheddable(0)
    else:
        lane.queue.yield_to_protected(yields=True, now=0)

    assert stages(*wide) == ["evicted", "evicted"]


def test_late_protected_work_takes_the_slot_of_sheddable_work_that_has_sent_nothing():
    """One slot for one request, the newest; nothing that waits is shed for it."""
    lane = Lane(capacity=2)
    old, new = lane.ask(FREE), lane.ask(FREE)
    paid, waits = lane.ask(), lane.ask(FREE)

    lane.wait(10)

    assert stages(old, new, paid, waits) == ["running", "evicted", "waiting", "waiting"]
    lane.end(new)
    assert stages(paid, waits) == ["running", "waiting"]


def test_late_protected_work_is_refused_when_all_sheddable_work_is_gone():
    """Sheddable work that waits is shed before it, also where that does not help."""
    lane = Lane(capacity=1)
    running = lane.ask()
    free, paid = lane.ask(FREE), lane.ask()

    lane.wait(10)

    assert lane.changes == [free, paid]
    assert free.refused.reason is RejectReason.SHED
    assert paid.refused.reason is RejectReason.DEADLINE_EXCEEDED
    assert paid.refused.retry_after_s >= 1
    assert stages(running) == ["running"]


@pytest.mark.parametrize("peers", [1, None])
def test_late_protected_work_waits_while_peers_hold_sheddable_work_or_are_silent(peers):
    """The other ingress replicas are asked again and again."""
    held = [peers]
    lane = Lane(capacity=1, peers=lambda: held[0])
    lane.ask()
    paid = lane.ask()
    lane.wait(11)

    assert stages(paid) == ["waiting"]
    assert lane.queue.next_at(lane.now) <= lane.now + 0.5
    held[0] = 0
    lane.wait(0.1)

    assert stages(paid) == ["refused"]


def test_a_full_queue_sheds_the_newest_sheddable_request_for_a_protected_one():
    """And refuses sheddable requests that come to a full queue."""
    lane = Lane(capacity=1, max_queued=2)
    lane.ask()
    old, new = lane.ask(FREE), lane.ask(FREE)

    assert lane.ask(FREE).refused.reason is RejectReason.SHED
    paid = lane.ask()

    assert stages(old, new, paid) == ["waiting", "refused", "waiting"]
    lane.ask()
    last = lane.ask()
    assert (stages(old, last), last.refused.reason) == (["refused", "refused"], RejectReason.SHED)


def test_a_request_that_is_known_to_be_late_is_refused_at_once():
    """At one start in two seconds six places are twelve seconds; come back when it fits."""
    lane = Lane(capacity=1)
    running = lane.ask()
    for _ in range(6):
        waits = lane.ask()
        lane.wait(2)
        lane.end(running)
        running = waits
    queued = [lane.ask() for _ in range(5)]
    assert "refused" not in stages(*queued)

    late = lane.ask()

    assert late.refused.reason is RejectReason.DEADLINE_EXCEEDED
    # A sixth would wait twelve seconds from now, and may wait ten.
    assert late.refused.retry_after_s == pytest.approx(2.0, abs=1.1)


def test_no_replica_means_that_sheddable_work_goes_first():
    """Protected work is told so only after it."""
    lane = Lane(capacity=1)
    running = lane.ask(FREE)
    waits = lane.ask(FREE)

    assert not lane.queue.preemption.drain_sheddable(0)
    assert stages(running, waits) == ["evicted", "refused"]
    lane.end(running)
    assert lane.queue.preemption.drain_sheddable(0)


def test_a_lane_without_known_slots_never_waits():
    """Where the engine's limit is not known, its own queue is the queue."""
    lane = Lane(capacity=None)

    tickets = [lane.ask(FREE) for _ in range(500)]

    assert {t.stage for t in tickets} == {Stage.RUNNING}
    assert lane.queue.next_at(0) is None


def test_tiers_that_change_in_the_file_apply_to_those_who_come():
    """A request keeps the deadline that it came with."""
    lane = Lane(capacity=1)
    lane.ask()
    old = lane.ask(FREE)
    lane.ask(Tier("free", 10, sheddable=True, start_within_s=1.0))

    lane.wait(2)

    assert stages(old) == ["waiting"]
    assert lane.queue.depths() == {"paid": 0, "free": 1}


def test_sheddable_work_of_a_lane_without_slots_keeps_its_share_while_held():
    """What it runs already counts."""
    lane = Lane(capacity=None)
    first = lane.ask(KEPT)
    lane.queue.set_level(Level.HOLD, 0)
    second = lane.ask(KEPT)

    assert stages(first, second) == ["running", "waiting"]
    assert lane.queue.is_waiting


def test_a_lone_ingress_needs_nobodys_word():
    """Late protected work is refused when no sheddable work is left here."""
    queue = LaneQueue(QueueConfig(), 1)
    queue.submit(SlotRequest(PAID, "t", 10), 0.0)
    late = queue.submit(SlotRequest(PAID, "t", 10), 0.0)
    queue.poll(11.0)

    assert late.refused.reason is RejectReason.DEADLINE_EXCEEDED


def test_a_full_queue_without_sheddable_work_has_no_room_to_make():
    """The newest is refused, whoever asks."""
    lane = Lane(capacity=1, max_queued=1)
    lane.ask()
    waiting, free, paid = lane.ask(), lane.ask(FREE), lane.ask()

    assert stages(waiting, free, paid) == ["waiting", "refused", "refused"]


def test_deadlines_of_those_who_have_left_are_forgotten():
    """Hundreds come and give up: what is kept follows who waits."""
    lane = Lane(capacity=1)
    lane.ask()
    for _ in range(300):
        lane.end(lane.ask())

    assert len(lane.queue.queues._deadlines) < 70


def test_sheddable_work_yields_to_protected_work_elsewhere():
    """What has sent nothing goes, what waits is shed, and none is let in meanwhile."""
    lane = Lane(capacity=4)
    begun, double, waiting = lane.ask(FREE), lane.ask(FREE, copies=2), lane.ask(FREE, copies=3)
    lane.queue.begin(begun)
    paid = lane.ask()
    assert stages(begun, double, waiting, paid) == ["running", "running", "waiting", "running"]

    lane.queue.yield_to_protected(yields=True, now=lane.now)

    assert stages(begun, double, waiting) == ["running", "evicted", "refused"]
    assert lane.ask(FREE).refused.reason is RejectReason.SHED
    lane.end(double)
    assert lane.queue.preemption.sheddable_held() == 0
    # Not even into an empty slot.
    assert lane.ask(FREE).refused.reason is RejectReason.SHED
    assert stages(lane.ask()) == ["running"]
    lane.queue.yield_to_protected(yields=False, now=lane.now)
    assert stages(lane.ask(FREE)) == ["waiting"]


def test_protected_work_says_that_it_waits_for_others_sheddable_work():
    """Only when there is none here any more; and not for longer than its grace."""
    held = [None]
    lane = Lane(capacity=1, peers=lambda: held[0], grace_s=5.0)
    free = lane.ask(FREE)
    late = lane.ask(Tier("paid", 0, start_within_s=1.0))
    lane.wait(1)
    assert (stages(free), lane.queue.preemption.wants_preemption(lane.now)) == (["evicted"], False)
    lane.end(free)
    assert stages(late) == ["running"]
    late = lane.ask(Tier("paid", 0, start_within_s=1.0))
    lane.wait(1)
    assert lane.queue.preemption.wants_preemption(lane.now)
    held[0] = 3
    lane.wait(5)
    assert stages(late) == ["waiting"]
    held[0] = None
    lane.wait(0.1)

    assert stages(late) == ["refused"]
    assert lane.queue.preemption.unconfirmed == 1


def test_a_saturated_lane_without_known_slots_starts_sheddable_work_in_its_share_alone():
    """The share is of a small lane then."""
    lane = Lane(capacity=None)
    lane.queue.set_level(Level.HOLD, lane.now)

    assert stages(lane.ask(KEPT), lane.ask(KEPT), lane.ask()) == ["running", "waiting", "running"]


def test_the_first_to_wait_after_a_slow_time_is_not_refused_by_its_pace():
    """A pace that nobody measures does not change by itself: someone has to wait."""
    hasty = Tier("hasty", 0, start_within_s=5.0)
    lane = Lane(capacity=1)
    lane.ask(hasty)
    part = lane.queue.queues.part(hasty)
    for _ in range(20):
        part.drain.note_waiting(is_waiting=True, now=lane.now)
        lane.now += 7.0
        part.drain.note_start(now=lane.now)
        part.drain.note_waiting(is_waiting=False, now=lane.now)

    first = lane.ask(hasty)

    assert stages(first) == ["waiting"]
    assert part.is_hopeless(first, lane.now)


@pytest.mark.parametrize("level", [Level.NORMAL, Level.HOLD])
def test_each_sheddable_tier_has_its_own_share(level):
    """One that has its share does not stand in the way of the next one's."""
    trial = Tier("trial", 20, sheddable=True, min_share=0.25)
    lane = Lane(capacity=4)
    paid = [lane.ask() for _ in range(4)]
    free, trials = [lane.ask(KEPT) for _ in range(3)], [lane.ask(trial) for _ in range(2)]
    lane.queue.set_level(level, lane.now)
    lane.end(paid[0])
    lane.end(paid[1])

    lane.wait(2.5)

    assert stages(*free) == ["running", "waiting", "waiting"]
    assert stages(*trials) == ["running", "waiting"]


def test_no_sheddable_work_is_let_in_while_protected_work_waits_for_it_to_go():
    """Else each that comes would put off what the others wait to hear."""
    lane = Lane(capacity=1, peers=lambda: 3)
    lane.ask()
    late = lane.ask(Tier("now", 0, start_within_s=0.0))
    lane.wait(0.1)
    assert stages(late) == ["waiting"] and lane.queue.preemption.wants_preemption(lane.now)

    free = lane.ask(FREE)

    assert stages(free) == ["refused"]
    assert lane.queue.preemption.wants_preemption(lane.now)


def test_after_a_clearing_sheddable_work_stays_out_for_its_time():
    """The lane has no replica: an empty slot is no use to anyone."""
    lane = Lane(capacity=2)
    assert lane.queue.preemption.drain_sheddable(lane.now, 0.2)

    refused = lane.ask(FREE)
    lane.wait(0.3)
    late = lane.ask(FREE)

    assert stages(refused, late) == ["refused", "running"]


def test_a_lane_of_protected_work_alone_is_looked_at_when_somebody_is_late():
    """Nothing else ends a wait there but an answer that ends."""
    lane = Lane(capacity=1)
    lane.ask()
    lane.ask()

    assert lane.queue.next_at(1.0) == 10.0


def test_those_in_line_wait_for_slots():
    lane = Lane(capacity=1)
    lane.ask()
    lane.ask()

    assert (lane.queue.in_line, lane.queue.is_waiting) == (1, True)


def test_a_lane_that_sheds_takes_sheddable_work_within_its_share():
    lane = Lane(capacity=8)
    lane.ask(copies=8)
    lane.queue.set_level(Level.SHED, 0)

    assert stages(*(lane.ask(KEPT) for _ in range(3))) == ["waiting", "waiting", "refused"]


def test_what_is_ended_already_is_not_ended_again():
    """It is gone when its engine has said so."""
    lane = Lane(capacity=1)
    free = lane.ask(FREE)

    lane.queue.preemption.drain_sheddable(0)
    lane.queue.preemption.drain_sheddable(0)

    assert stages(free) == ["evicted"]
    assert lane.changes == [free]
