"""Evidence of the shed order: what the logs say of refusals of protected work."""

import json

import pytest

from router.admission.shed_order import (
    AdmissionLog,
    Event,
    Held,
    Refusal,
    Verdict,
    judge,
    judge_one,
)

T = 100.0


def log_of(*events, born=0.0, until=T + 1, lane="chat", **bounds):
    """A replica's log from (time, number, event) of sheddable work, as its peers read it."""
    log = AdmissionLog(now=born, **bounds)
    for at, number, event in events:
        log.note(at, lane, number, "free", event, sheddable=True)
    return Held.read("i1", json.loads(json.dumps(log.export(until))))


def refused(at=T, lane="chat"):
    return Refusal(at, lane, "paid", "shed")


def verdict(*events, **kwargs):
    return judge_one(refused(), log_of(*events, **kwargs))


QUEUED, STARTED, BEGAN, LEFT, REFUSED = Event


@pytest.mark.parametrize("end", [BEGAN, LEFT, REFUSED])
def test_sheddable_work_held_from_half_a_second_before_is_a_violation(end):
    """Queued or started makes no difference; its first token, its end or its refusal do."""
    held = (T - 2, 1, QUEUED), (T - 1, 1, STARTED)

    assert verdict(*held) is Verdict.VIOLATION
    assert verdict(*held, (T + 0.1, 1, end)) is Verdict.VIOLATION
    assert verdict(*held, (T - 0.1, 1, end)) is Verdict.CLEAR
    assert verdict(*held, (T, 1, end)) is Verdict.CLEAR
    # What follows on its end changes nothing.
    assert verdict(*held, (T - 0.1, 1, end), (T + 0.1, 1, LEFT)) is Verdict.CLEAR


def test_sheddable_work_that_came_within_the_lag_is_none():
    """Nobody can have known of it when the refusal was decided."""
    assert verdict((T - 0.4, 1, QUEUED)) is Verdict.CLEAR
    assert verdict((T - 0.5, 1, QUEUED)) is Verdict.VIOLATION


def test_one_after_another_is_held_throughout():
    """No single request was there all the while, and yet there was no moment without."""
    assert (
        verdict((T - 2, 1, QUEUED), (T - 0.3, 2, QUEUED), (T - 0.2, 1, BEGAN)) is Verdict.VIOLATION
    )
    assert verdict((T - 2, 1, QUEUED), (T - 0.3, 1, BEGAN), (T - 0.2, 2, QUEUED)) is Verdict.CLEAR


def test_other_lanes_do_not_count():
    """Their sheddable work takes nothing from this one."""
    assert verdict((T - 2, 1, QUEUED), lane="quality") is Verdict.CLEAR


def test_an_answer_from_before_the_refusal_is_no_proof_of_a_violation():
    """It may show that none was held, else it has to be asked again."""
    assert verdict((T - 2, 1, QUEUED), until=T - 0.1) is Verdict.UNKNOWN
    assert verdict(until=T - 0.1) is Verdict.CLEAR
    assert verdict(until=T - 1) is Verdict.UNKNOWN


def test_what_falls_off_the_log_is_still_held():
    """An hour in the queue, and a thousand others since."""
    others = [(T - 10 + i / 200, 2 + i, event) for i in range(1000) for event in (QUEUED, LEFT)]

    assert verdict((0.0, 1, QUEUED), *others, max_events=100) is Verdict.VIOLATION
    assert verdict((0.0, 1, QUEUED), (0.1, 1, BEGAN), *others, max_events=100) is Verdict.CLEAR


def test_old_events_are_forgotten_before_the_bound():
    """An export has no more than the last seconds."""
    log = AdmissionLog(now=0.0, keep_s=5.0)
    for second in range(100):
        log.note(float(second), "chat", second, "free", QUEUED, sheddable=True)
        log.note(float(second), "chat", second, "free", STARTED, sheddable=True)
        log.note(float(second), "chat", second, "free", LEFT, sheddable=True)
        log.note(float(second), "chat", second, "paid", QUEUED, sheddable=False)

    exported = log.export(100.0)
    assert len(log._entries) < 30
    assert exported["start"] >= 90 and exported["held"] == {}
    assert all(lane == "chat" for _, lane, _, _ in exported["events"])


def test_a_log_that_begins_within_the_window_may_clear_but_not_accuse():
    """A burst has pushed out what came before."""
    burst = [(T - 0.2 + i / 1e5, 100 + i, QUEUED) for i in range(50)]
    assert verdict((T - 2, 1, QUEUED), *burst, max_events=20) is Verdict.UNKNOWN

    ends = [(at + 1e-3, number, LEFT) for at, number, _ in burst]
    gone = [(T - 2, 1, QUEUED), *burst, (T - 0.1, 1, LEFT), *ends]
    assert verdict(*sorted(gone, key=lambda e: e[0]), max_events=20) is Verdict.CLEAR
    late = [(T + 0.5 + i / 1e5, 100 + i, QUEUED) for i in range(50)]
    assert verdict((T - 2, 1, QUEUED), *late, max_events=20) is Verdict.UNKNOWN


def test_a_clock_that_may_be_off_widens_the_window():
    """Another machine's; what the error could explain is no violation."""
    log = AdmissionLog(now=0.0)
    log.note(T - 0.6 - 7, "chat", 1, "free", QUEUED, sheddable=True)
    exported = log.export(T + 1 - 7)

    near = Held.read("i2", exported, shift_s=7.0, skew_s=0.05)
    far = Held.read("i2", exported, shift_s=7.0, skew_s=0.2)

    assert judge_one(refused(), near) is Verdict.VIOLATION
    assert judge_one(refused(), far) is Verdict.CLEAR


def test_all_replicas_must_have_lived_and_be_clear():
    """A successor does not know what its predecessor held."""
    clear, newborn = log_of(), log_of(born=T + 0.5)
    holds = log_of((T - 2, 1, QUEUED))

    assert judge(refused(), [clear, clear], 2) == (Verdict.CLEAR, None)
    assert judge(refused(), [clear], 2) == (Verdict.UNKNOWN, None)
    assert judge(refused(), [clear, newborn], 2) == (Verdict.UNKNOWN, None)
    assert judge(refused(), [clear, newborn, holds], 2) == (Verdict.VIOLATION, "i1")


def test_only_protected_refusals_for_want_of_room_are_judged():
    """A tenant's own ceilings have other codes; sheddable work may be shed."""
    log = AdmissionLog(now=0.0)
    log.note(1.0, "chat", log.number(), "paid", REFUSED, sheddable=False, code="tenant_concurrency")
    log.note(2.0, "chat", log.number(), "free", REFUSED, sheddable=True, code="shed")
    log.note(3.0, "chat", log.number(), "paid", REFUSED, sheddable=False, code="no_replica")

    assert log.take_refusals() == ([Refusal(3.0, "chat", "paid", "no_replica")], 0)
    assert log.take_refusals() == ([], 0)


def test_refusals_beyond_the_bound_are_counted():
    """They can no longer be judged, and that is said."""
    log = AdmissionLog(now=0.0, max_events=10)
    for number in range(15):
        log.note(float(number) / 10, "chat", number, "paid", REFUSED, sheddable=False, code="shed")

    taken, lost = log.take_refusals()
    assert (len(taken), lost) == (10, 5)
