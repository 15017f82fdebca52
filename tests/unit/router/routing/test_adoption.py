"""Turns that are said to have gone up at another ingress replica."""

import pytest

from router.routing.escalation import EscalationConfig, EscalationController, EscalationLevel

COMPLEX = EscalationLevel("complex", 0.03)
FRONTIER = EscalationLevel("frontier", 0.01)


def controller_of(replicas=1, tenants=2000):
    config = EscalationConfig(replicas=replicas, tenants=tenants)
    return EscalationController((FRONTIER, COMPLEX), lambda share: 1 - share, config)


def adopt_all(controller, tenant="a", lane="complex"):
    """Take over turns as long as the tenant may; returns how many."""
    count = 0
    while controller.view(tenant, {})[lane].may_adopt:
        controller.adopt(tenant, {}, lane)
        count += 1
    return count


def score(controller, times, tenant="a"):
    for _ in range(times):
        controller.note(tenant, {}, 0.1, None, sticky=False, now=0.0)


def test_made_up_turns_come_to_an_end():
    """Steps alone earn nothing, however many are sent."""
    controller = controller_of()

    assert adopt_all(controller) == 15
    assert adopt_all(controller) == 0


def test_each_lane_and_each_tenant_has_a_bucket_of_its_own():
    controller = controller_of()
    adopt_all(controller)

    assert adopt_all(controller, lane="frontier") == 5
    assert adopt_all(controller, tenant="b") == 15


def test_scored_requests_earn_more():
    """As they do for escalations: a thousand of them at most twice the budget's."""
    controller = controller_of()
    taken = adopt_all(controller)
    for _ in range(1000):
        score(controller, 1)
        taken += adopt_all(controller)

    assert 45 <= taken <= 60


@pytest.mark.parametrize("replicas", [2, 4])
def test_it_has_room_for_all_turns_that_begin_elsewhere(replicas):
    """Each replica meets the turns of all the others, and what a tenant goes up by is bounded."""
    controller = controller_of(replicas)
    taken = adopt_all(controller)
    for _ in range(1000 // replicas):
        score(controller, 1)
        taken += adopt_all(controller)

    begun_elsewhere = 0.03 * 1000 * (replicas - 1) / replicas
    assert begun_elsewhere <= taken <= (replicas - 1) * 60


def test_it_does_not_count_as_an_escalation():
    """It has, where the turn began."""
    controller = controller_of()
    score(controller, 500)
    before = controller.share(now=0.0), controller.view("a", {})["complex"].has_sticky_budget
    adopt_all(controller)

    view = controller.view("a", {})["complex"]
    assert (controller.share(now=0.0), view.has_sticky_budget) == before


def test_a_tenant_that_may_have_been_forgotten_begins_with_nothing():
    controller = controller_of(tenants=1)
    score(controller, 1, "a")
    score(controller, 1, "b")

    assert adopt_all(controller, "c") == 0


def test_a_lane_that_has_no_level_any_more_is_not_paid_for():
    """Files are read again while requests run."""
    controller = controller_of()

    controller.adopt("a", {}, "elsewhere")

    assert adopt_all(controller) == 15
