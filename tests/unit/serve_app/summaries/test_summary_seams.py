"""Summaries together with stored responses and named tool sets, at a replica after the other."""

from __future__ import annotations

import json

from benchmarks.support.agent_bodies import DIALECTS
from serve_app.pipeline.state import IngressState
from tests.unit.serve_app.agents.answers import Answer, whole
from tests.unit.serve_app.conftest import FakeResponse
from tests.unit.serve_app.registry.tool_files import book_of, tool, write
from tests.unit.serve_app.responses.storing import BOUNDS
from tests.unit.serve_app.summaries.summaries import AGENTS, HISTORY, RESPONSES, long

TURNS = 8


def with_ids(made) -> None:
    """Have each answer be a response of its own."""
    opened, count = made.lanes.open, 0

    async def open_(replica, path, body, headers):
        nonlocal count
        if path != RESPONSES:
            return await opened(replica, path, body, headers)
        count += 1
        made.lanes.sent.append(json.loads(body))
        answer = {**whole(path, Answer(["Done."])), "id": f"resp_{count}", "status": "completed"}
        return FakeResponse(json.dumps(answer).encode())

    made.lanes.open = open_


async def test_what_is_stored_is_what_the_client_sent(replicas, tmp_path):
    """The engine reads summaries and the set's tools; what is gone on from are the words."""
    made = replicas(agents=AGENTS, history=HISTORY, responses=BOUNDS)
    write(tmp_path / "tools", tools=[tool("read"), tool("add_note")])
    book = book_of(tmp_path / "tools", tmp_path)
    with_ids(made)
    asked = {"tools": {"registry": "crm"}, "store": True, "model": "chat"}
    for number in range(TURNS):
        made.next()
        state = IngressState(made.world.state.policies, "s3", tool_book=book)
        made.back(made.shelves[-1], state)
        items = DIALECTS[RESPONSES]([[["read", {}, long(f"n{number}")]]])["input"]
        for item in items:
            item.update({"call_id": f"c{number}"} if "call_id" in item else {})
        told = (await made.send(RESPONSES, {**asked, "input": items})).headers
        asked["previous_response_id"] = f"resp_{number + 1}"

        assert told["x-pointsman-tool-results"].startswith("summarised")
        assert told["x-pointsman-tools"] == "crm@7"
        assert [x["name"] for x in made.lanes.sent[-1]["tools"]] == ["add_note", "read"]
        is_long = number > 0
        assert told.get("x-pointsman-history", "").startswith("summarised") is is_long
        assert "line 59" not in json.dumps(made.prompt)

    # Each text once, whatever the number of ingress replicas.
    assert len(made.lanes.asked_for) == TURNS + TURNS - 1
    stored = await made.world.responses.conversation("acme", f"resp_{TURNS}", 10**7)
    words = b"".join(items for exchange in stored for items in exchange)
    assert b"Summary number" not in words and words.count(b"line 59") == TURNS
