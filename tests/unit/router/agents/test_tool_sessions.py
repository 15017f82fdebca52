"""Which sessions use which version of a tool set, within bounds of each tenant."""

from router.agents.tool_sessions import ToolSessions


def test_the_sessions_of_a_set_with_the_version_of_each():
    sessions = ToolSessions()

    sessions.note("acme", "crm", b"1", 7, now=0.0)
    sessions.note("acme", "crm", b"1", 8, now=1.0)
    sessions.note("guest", "crm", b"2", 7, now=1.0)
    sessions.note("guest", "web", b"2", 3, now=1.0)

    assert sessions.of("crm", now=2.0) == {b"1": 8, b"2": 7}
    assert len(sessions) == 3


def test_a_session_that_is_idle_is_none_any_more():
    """It is not told from then on, and forgotten at the tenant's next request."""
    sessions = ToolSessions(idle_s=10)
    sessions.note("acme", "crm", b"1", 7, now=0.0)
    sessions.note("acme", "crm", b"2", 7, now=5.0)

    assert sessions.of("crm", now=12.0) == {b"2": 7}
    sessions.note("acme", "crm", b"3", 7, now=12.0)
    assert len(sessions) == 2


def test_a_tenant_forgets_its_own_oldest():
    sessions = ToolSessions(per_tenant=2)
    sessions.note("guest", "crm", b"g", 7, now=0.0)

    for number in range(5):
        sessions.note("acme", "crm", b"%d" % number, 7, now=1.0)

    assert sessions.of("crm", now=2.0) == {b"g": 7, b"3": 7, b"4": 7}


def test_over_the_bound_for_all_the_tenant_with_most_forgets():
    """A tenant with few sessions keeps them, however many others begin."""
    sessions = ToolSessions(in_all=4)
    sessions.note("guest", "crm", b"g", 7, now=0.0)

    for number in range(9):
        sessions.note("acme", "crm", b"%d" % number, 7, now=1.0)

    assert b"g" in sessions.of("crm", now=2.0)
    assert len(sessions) == 4
