"""Thresholds, budgets, feedback and alarms of one ingress replica."""

import pytest

from router.routing.escalation import EscalationConfig, EscalationController, EscalationLevel

COMPLEX = EscalationLevel("complex", 0.03)
FRONTIER = EscalationLevel("frontier", 0.01)


def shipped(share):
    """Uniform scores."""
    return 1 - share


def controller_of(*levels, replicas=1, **settings):
    config = EscalationConfig(replicas=replicas, **settings)
    return EscalationController(levels or (COMPLEX,), shipped, config)


def one(controller, tenant="a", budgets=None):
    """The view of the only level."""
    return controller.view(tenant, budgets or {})["complex"]


def ask(controller, score, tenant="a", budgets=None, *, sticky=False):
    """Decide and note one request; returns the lane."""
    budgets = budgets or {}
    lane = None
    for name, view in controller.view(tenant, budgets).items():
        paid = view.has_sticky_budget if sticky else view.has_budget
        if lane is None and paid and (sticky or score >= view.yield_threshold):
            lane = name
    controller.note(tenant, budgets, score, lane, sticky=sticky, now=0.0)
    return lane


def test_the_first_thresholds_are_the_shipped_ones():
    view = controller_of(FRONTIER, COMPLEX).view("a", {})

    assert list(view) == ["frontier", "complex"]
    assert view["frontier"].threshold == pytest.approx(0.99)
    assert view["complex"].threshold == pytest.approx(0.96)


def test_a_new_tenant_may_escalate_at_once():
    assert ask(controller_of(), 0.999) == "complex"
    assert ask(controller_of(), 0.5) is None


def test_the_strongest_level_that_is_reached_comes_first():
    controller = controller_of(FRONTIER, COMPLEX)

    assert ask(controller, 0.995) == "frontier"
    assert ask(controller, 0.97) == "complex"


def test_a_budget_of_nothing_means_never():
    controller = controller_of()

    assert not one(controller, budgets={"complex": 0}).has_budget
    assert not one(controller, budgets={"complex": 0}).has_sticky_budget


def test_a_tenant_without_budget_counts_in_nothing():
    controller = controller_of()
    before = controller.export()
    for _ in range(200):
        controller.note("a", {"complex": 0}, 0.99, None, sticky=False, now=0.0)

    assert controller.export() == before


def test_a_flood_gets_its_budget_and_no_more():
    controller = controller_of()
    for number in range(500):
        ask(controller, 0.3, tenant=f"t{number % 10}")

    lanes = [ask(controller, 0.99) for _ in range(5000)]

    assert lanes[1000:].count("complex") == pytest.approx(0.03 * 4000, abs=1)


def test_a_tenant_in_line_borrows_while_the_level_is_behind():
    """Its own bucket is empty at first: what goes up is lent, 7 of the 7.5 to spare."""
    controller = controller_of()

    lanes = [ask(controller, 0.999) for _ in range(7)]

    assert lanes == ["complex"] * 7
    assert not one(controller).has_budget
    assert one(controller).has_sticky_budget


def test_a_tenant_out_of_line_borrows_nothing():
    controller = controller_of()
    for number in range(640):
        ask(controller, 0.3, tenant=f"t{number % 10}")
    for _ in range(100):
        controller.note("a", {}, 0.999, None, sticky=False, now=0.0)
    # What it saved up itself, and not one more.
    lanes = [ask(controller, 0.999) for _ in range(10)]

    assert controller.view("b", {})["complex"].has_budget
    assert lanes == ["complex"] * 3 + [None] * 7


def test_a_flood_of_the_stronger_level_is_out_of_line_on_the_weaker_too():
    controller = controller_of(FRONTIER, COMPLEX)
    for number in range(640):
        ask(controller, (number * 0.6180339887) % 1, tenant=f"t{number % 10}")
    for _ in range(100):
        controller.note("a", {}, 0.999, None, sticky=False, now=0.0)

    lanes = [ask(controller, 0.975) for _ in range(10)]

    assert lanes == ["complex"] * 3 + [None] * 7


def test_when_everybody_is_over_the_threshold_nobody_is_out_of_line():
    """Shipped quantiles far too low: the threshold finds the top of what is seen."""
    low = EscalationController((COMPLEX,), lambda share: 0.5 - share)
    for number in range(2560):
        ask(low, (number * 0.6180339887) % 1, tenant=f"t{number % 20}")

    assert low.window.threshold(0.03) == pytest.approx(0.97, abs=0.01)


def test_half_of_the_traffic_is_not_half_of_the_distribution():
    controller = controller_of()
    for number in range(4096):
        if number % 2:
            ask(controller, 0.1, tenant="heavy")
        else:
            ask(controller, (number * 0.6180339887) % 1, tenant=f"t{number % 202}")

    # The others' top 3 %, or nearly; of all scores it would be 6 % of theirs.
    assert controller.window.threshold(0.03) == pytest.approx(0.97, abs=0.01)


def test_sticky_turns_need_only_the_hard_bucket():
    controller = controller_of()

    lanes = [ask(controller, 0.1, sticky=True) for _ in range(40)]

    # A full bucket of 15 and 40 refills of 0.045, of which two were lost to its rim.
    assert lanes.count("complex") == 16


def test_sticky_turns_are_paid_back_from_the_own_bucket():
    controller = controller_of()
    for _ in range(15):
        ask(controller, 0.1, sticky=True)
    for _ in range(30):
        ask(controller, 0.1)

    assert one(controller).has_sticky_budget
    assert not one(controller).has_budget


def test_replicas_divide_the_bucket():
    controller = controller_of(replicas=5)

    lanes = [ask(controller, 0.1, sticky=True) for _ in range(10)]

    assert lanes.count("complex") == 3


def test_too_small_a_budget_for_so_many_replicas_is_never():
    tiny = {"complex": 0.002}

    assert one(controller_of(replicas=3), budgets=tiny).has_budget
    assert not one(controller_of(replicas=4), budgets=tiny).has_budget


def test_a_smaller_budget_takes_effect_at_once():
    controller = controller_of()
    ask(controller, 0.1)

    lanes = [ask(controller, 0.1, budgets={"complex": 0.004}, sticky=True) for _ in range(10)]

    assert lanes.count("complex") == 2


def test_a_forgotten_tenant_comes_back_with_nothing():
    controller = controller_of(tenants=2)
    assert one(controller, "c").has_budget
    for tenant in "abc":
        ask(controller, 0.1, tenant)

    assert not one(controller, "a").has_sticky_budget
    assert one(controller, "b").has_sticky_budget


def test_the_tenant_that_is_forgotten_was_idle_the_longest():
    controller = controller_of(tenants=2)
    for tenant in "abac":
        ask(controller, 0.1, tenant)

    assert one(controller, "a").has_sticky_budget
    assert not one(controller, "b").has_sticky_budget


def test_the_debt_of_sticky_turns_is_bounded():
    """15 at most: 500 requests pay it back, however long the conversation was."""
    controller = controller_of()
    for _ in range(2000):
        ask(controller, 0.1, sticky=True)
    for number in range(600):
        ask(controller, 0.1, tenant=f"t{number % 10}")
    lanes = [ask(controller, 0.999) for _ in range(560)]

    assert "complex" in lanes
