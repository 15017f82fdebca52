"""How much of a replica a group keeps busy."""

import pytest

from router.placement.tenant_load import GroupDemand, Step


def test_demand_is_the_mean_of_open_requests():
    """Two open for long are two, to the step below; an idle group fades."""
    demand = GroupDemand()
    demand.begin("g", now=0)
    demand.begin("g", now=0)
    demand.begin("brief", now=0)
    demand.end("brief", now=0.1)
    demand.end("unknown", now=0.1)

    busy = demand.published(now=3_000)
    demand.end("g", now=3_000)
    demand.end("g", now=3_000)

    assert busy["g"][0] == pytest.approx(2**0.5, abs=0.01)
    assert list(busy) == ["g"]
    assert demand.published(now=30_000) == {}


def test_idle_groups_are_dropped_before_busy_ones():
    """The bound never loses the count of an open request while something idle is there."""
    demand = GroupDemand(capacity=2)
    demand.begin("busy", now=0)
    demand.begin("idle", now=1)
    demand.end("idle", now=2)
    demand.begin("new", now=3)

    assert set(demand.groups) == {"busy", "new"}


def test_a_step_does_not_flap():
    """A value that wavers around a boundary stays where it was."""
    step = Step()

    shown = [step.of(value) for value in (2.1, 1.9, 2.1, 1.9, 3.9, 4.1, 3.9, 0.0, 1.9)]

    assert shown == pytest.approx([2, 2, 2, 2, 2**1.5, 4, 4, 0, 2**0.5], abs=0.01)
