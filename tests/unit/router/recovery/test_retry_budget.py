"""Whose retries are whose."""

import pytest

from router.recovery.retry_budget import RetryBudget, RetryBudgetConfig

QUIET = RetryBudgetConfig(retry_share=0, retry_floor_per_s=0, retry_burst=16, retry_tenants=2)


def spend(budget: RetryBudget, tenant: str, now: float = 0.0) -> int:
    return sum(budget.try_spend(tenant, now=now) for _ in range(1000))


def test_a_tenant_alone_has_its_whole_burst_and_no_more():
    assert spend(RetryBudget(QUIET, now=0.0), "a") == 16


def test_where_others_have_spent_the_total_a_tenant_has_its_reserve():
    budget = RetryBudget(QUIET, now=0.0)

    assert [spend(budget, name) for name in "abcd"] == [16, 16, 2, 2]


@pytest.mark.parametrize(("seconds", "retries"), [(0.4, 0), (1.0, 2), (100.0, 16)])
def test_time_gives_retries_back(seconds, retries):
    budget = RetryBudget(RetryBudgetConfig(0, 2, 16, 2), now=0.0)
    spend(budget, "a")

    assert spend(budget, "a", now=seconds) == retries
    assert spend(budget, "a", now=seconds - 0.1) == 0


def test_a_tenant_s_own_requests_give_it_retries():
    budget = RetryBudget(RetryBudgetConfig(0.5, 0, 16, 2), now=0.0)
    spend(budget, "a")
    for tenant in ("a", "a", "b", "b", "b", "b"):
        budget.note_request(tenant)

    assert spend(budget, "a") == 1


def test_new_limits_hold_from_now_on():
    budget = RetryBudget(QUIET, now=0.0)
    assert budget.try_spend("a", now=0.0)

    budget.apply(RetryBudgetConfig(0, 0, 4, 1))

    assert [spend(budget, name) for name in "ab"] == [4, 1]


def test_only_so_many_tenants_are_remembered(monkeypatch):
    """Who spent longest ago is forgotten first, and so is what it spent."""
    monkeypatch.setattr("router.recovery.retry_budget.MAX_TENANTS", 2)
    budget = RetryBudget(RetryBudgetConfig(0, 0, 16, 100), now=0.0)

    assert [spend(budget, name) for name in "abac"] == [16, 16, 0, 16]
    assert len(budget.spent) == 2
    assert [spend(budget, name) for name in "ab"] == [0, 16]
