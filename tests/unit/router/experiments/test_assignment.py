"""Which arm a session is in."""

from dataclasses import replace

import pytest

from router.experiments.experiment import Experiment, Kind, arms_of, shadows_of

DAY_S = 86_400.0
AB = Experiment(
    "models", Kind.AB, "chat", "candidate", 0.5, begins=1000.0, ends=1000.0 + 14 * DAY_S
)
BLOCKS = replace(AB, kind=Kind.SWITCHBACK, block_s=3600.0, washout_s=300.0)
SHADOW = replace(AB, kind=Kind.SHADOW, share=0.1)
NOW = 2000.0


def arm(experiment, session="a", tenant="acme", tier="paid", now=NOW, stopped=()):
    found = arms_of([experiment], stopped, session, tenant, tier, now)
    return found[0] if found else None


def test_a_session_stays_in_its_arm():
    """At any time, in any process: nothing is drawn."""
    found = {arm(AB, f"session {n}", now=NOW + n % 5 * DAY_S).name for n in range(50)}
    again = [arm(AB, "s", now=NOW + day * DAY_S) for day in range(13)]

    assert found == {"control", "treatment"}
    assert len(set(again)) == 1


def test_arms_are_the_same_in_every_release():
    """A hash that changed would move every session of every running experiment."""
    names = "".join(arm(AB, f"session {n}").name[0] for n in range(12))

    assert names == "cttttccttctc"


def test_an_arm_knows_its_lanes_and_its_propensity():
    """The treatment's are elsewhere; the control's stay."""
    most = replace(AB, share=0.9999)

    treated, control = arm(most), arm(replace(AB, share=0.0001))

    assert (treated.name, treated.lane, treated.propensity) == ("treatment", "candidate", 0.9999)
    assert (control.name, control.lane, control.propensity) == ("control", "chat", 0.9999)
    assert (treated.control, treated.treatment) == ("chat", "candidate")


@pytest.mark.parametrize(
    ("changed", "more"),
    [
        ({}, {"now": 999.0}),
        ({}, {"now": AB.ends}),
        ({}, {"stopped": {"models"}}),
        ({"tenants": frozenset({"other"})}, {}),
        ({"tiers": frozenset({"free"})}, {}),
        ({"kind": Kind.SHADOW}, {}),
    ],
)
def test_who_is_in_no_arm(changed, more):
    """Before and after, stopped, other tenants, other tiers; a shadow moves nobody."""
    assert arm(replace(AB, **changed), **more) is None


def test_named_tenants_and_tiers_are_in():
    """Of those that are named."""
    named = replace(AB, tenants=frozenset({"acme"}), tiers=frozenset({"paid"}))

    assert arm(named) is not None


def test_blocks_of_time_have_one_arm_for_all_sessions():
    """Each is drawn, and begins with a washout that counts for neither."""
    begun = [BLOCKS.begins + 3600.0 * n for n in range(100)]
    lanes = [{arm(BLOCKS, s, now=at + 600).lane for s in "abc"} for at in begun]

    assert all(len(x) == 1 for x in lanes)
    assert 30 < sum(x == {"candidate"} for x in lanes) < 70
    assert {arm(BLOCKS, now=at + 299).name for at in begun} == {None}
    assert None not in {arm(BLOCKS, now=at + 300).name for at in begun}
    assert arm(BLOCKS, now=begun[7] + 10).lane == arm(BLOCKS, now=begun[7] + 3000).lane


def test_a_shadow_wants_some_requests_of_its_lane():
    """By the request, not by the session."""
    ids = [f"r{n}" for n in range(1000)]
    wanted = [x for x in ids if shadows_of([SHADOW, AB], (), x, "acme", "paid", "chat", NOW)]

    assert 60 < len(wanted) < 140
    assert not any(shadows_of([SHADOW], (), x, "acme", "paid", "other", NOW) for x in wanted)
    assert not shadows_of([SHADOW], {"models"}, wanted[0], "acme", "paid", "chat", NOW)
    assert not shadows_of([SHADOW], (), wanted[0], "acme", "paid", "chat", 0.0)
