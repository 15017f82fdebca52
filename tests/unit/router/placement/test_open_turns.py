"""What a lane replica counts of its turns, and publishes."""

from router.placement.open_turns import OpenTurns


def test_open_turns_are_published_by_ingress_until_they_end():
    turns = OpenTurns(8, 600)
    turns.begin("i0", "acme", None, now=0.0)
    turns.begin("i0", "acme", None, now=0.0)
    turns.begin("i1", "acme", None, now=0.0)

    turns.end("i0", "acme", now=1.0)
    turns.end("i1", "acme", now=1.0)

    report = turns.report(0.123, now=1.0, draining=True)
    assert (report.open, report.kv_utilization, report.draining) == ({"i0": 1}, 0.12, True)


def test_a_spilled_session_is_published_while_it_is_warm():
    turns = OpenTurns(8, 600)

    turns.begin("i0", "acme", ("abc", 3), now=0.0)

    assert turns.report(0.0, now=599.0).spilled == {"abc": 3}
    assert turns.report(0.0, now=601.0).spilled == {}
