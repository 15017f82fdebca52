"""The last faults in words, without a word of the client's."""

import pytest

from serve_app.placement.lanes import Unreachable, UpstreamFault, UpstreamTimeout
from serve_app.relay.fault_log import EXPORTED, FAILED, GONE, KEPT, LATE, LOST, FaultLog
from tests.unit.serve_app.conftest import FakeResponse

CHAT = {"messages": [{"role": "user", "content": "the code is 8814"}]}
NOT_NOW = FakeResponse(b"{}", status=503)


@pytest.mark.parametrize(
    ("fault", "what"),
    [(Unreachable, GONE), (UpstreamFault, LOST), (NOT_NOW, FAILED), (UpstreamTimeout, LATE)],
)
async def test_a_fault_is_told_with_its_replica_and_request(world, engine, fault, what):
    world.lanes.answers = [fault, engine()]

    await world.post("/v1/chat/completions", CHAT, "acme", headers={"x-request-id": "r7"})

    (row,) = world.fault_book.log.export()
    assert (row["lane"], row["replica"], row["what"]) == ("chat", "r1", what)
    assert (row["tenant"], row["request_id"], row["tokens_passed_on"]) == ("acme", "r7", 0)
    assert "8814" not in str(row)


async def test_requests_that_are_answered_leave_no_line(world, engine):
    world.lanes.answers = [engine()]

    await world.post("/v1/chat/completions", CHAT, "acme")

    assert world.fault_book.log.export() == []


async def test_the_log_is_bounded(world, engine):
    log, seen = FaultLog(), []
    world.fault_book.log.note = lambda attempts, *_: seen.append(attempts)
    world.lanes.answers = [Unreachable, engine()]
    await world.post("/v1/chat/completions", CHAT, "acme")
    for number in range(KEPT + 50):
        log.note(seen[0], f"r{number}", GONE)

    rows = log.export()

    assert len(rows) == EXPORTED
    assert rows[-1]["replica"] == f"r{KEPT + 49}"
