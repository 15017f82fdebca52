"""Retries stay bounded, and nobody's take another's."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from router.recovery.retry_budget import RESERVE, RetryBudget, RetryBudgetConfig

TENANTS = ("a", "b", "c", "d", "e", "f", "g")
configs = st.builds(
    RetryBudgetConfig,
    share=st.floats(0, 2),
    floor_per_s=st.floats(0, 50),
    burst=st.floats(1, 50),
    tenants=st.floats(1, 6),
)
steps = st.lists(
    st.tuples(st.sampled_from(TENANTS), st.booleans(), st.floats(0, 2), st.integers(1, 60)),
    max_size=100,
)


def spend(budget: RetryBudget, tenant: str, times: int, now: float) -> int:
    return sum(budget.try_spend(tenant, now=now) for _ in range(times))


@given(configs, steps)
def test_retries_never_exceed_the_budgets(config, happenings):
    """A tenant's by its own; all tenants' by the total and their reserves."""
    budget = RetryBudget(config, now=0.0)
    now, requests, retries = 0.0, Counter(), Counter()

    for tenant, is_request, passed_s, times in happenings:
        now += passed_s
        if is_request:
            budget.note_request(tenant)
            requests[tenant] += 1
        else:
            retries[tenant] += spend(budget, tenant, times, now)

        timed = config.burst + config.floor_per_s * now
        assert retries[tenant] <= timed + config.share * requests[tenant] + 1e-6
        total = config.tenants * timed + config.share * requests.total()
        reserves = len(retries) * (1 + RESERVE * timed) + RESERVE * config.share * requests.total()
        assert retries.total() <= total + reserves + 1e-6


@given(configs, steps, st.floats(0, 2))
def test_who_has_not_retried_gets_its_retry_whatever_others_do(config, happenings, passed_s):
    """Also all that its reserve holds, at once."""
    budget = RetryBudget(config, now=0.0)
    now = 0.0
    for tenant, is_request, step_s, times in happenings:
        now += step_s
        if is_request:
            budget.note_request(tenant)
        else:
            spend(budget, tenant, times, now)

    reserved = int(max(1.0, config.burst * RESERVE))
    assert spend(budget, "new", reserved, now + passed_s) == reserved


@given(configs, st.integers(0, 400))
def test_one_tenant_s_spending_leaves_another_s_budget_whole(config, times):
    """With room for two in the total, the second has all that the first had."""
    config = RetryBudgetConfig(config.share, config.floor_per_s, config.burst, tenants=2)
    budget = RetryBudget(config, now=0.0)

    spend(budget, "a", times, 0.0)

    assert spend(budget, "b", 400, 0.0) == int(config.burst)
