"""Bodies with a note, or without their tools, are what the pinned vLLM takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.support.agent_bodies import DIALECTS
from serve_app.agents.notes import with_note, without_tools

NOTE = "Answer now."
HERE = Path(__file__).parent
TURN = [[["see", {"a": 1}, "seen"]]]


@pytest.mark.slow
def test_the_engine_reads_the_note_in_the_newest_result():
    """In no message of its own, which `/v1/messages` would move to the front."""
    plain = [[path, {**make(TURN), "model": "m"}] for path, make in DIALECTS.items()]
    noted = [[path, with_note(body, path, NOTE)] for path, body in plain]
    finished = [[path, without_tools({**body, "tool_choice": {"type": "auto"}})]
                for path, body in noted]  # fmt: skip

    run = subprocess.run(
        [sys.executable, HERE / "notes_check.py"],
        input=json.dumps([*plain, *noted, *finished]),
        capture_output=True,
        text=True,
        check=True,
    )

    answers = json.loads(run.stdout.splitlines()[-1])
    for before, after, last in zip(answers[:3], answers[3:6], answers[6:], strict=True):
        assert after["messages"][:-1] == before["messages"][:-1]
        newest = after["messages"][-1]
        assert newest["role"] == "tool"
        assert newest["content"] == f"seen\n\n<system-note>{NOTE}</system-note>"
        assert (before["tools"], after["tools"], last["tools"]) == (1, 1, 0)
        assert last["messages"] == after["messages"]


def test_of_several_results_in_a_message_the_last_has_the_note():
    blocks = [{"type": "tool_result", "tool_use_id": x, "content": x} for x in "ab"]
    reminder = {"type": "text", "text": "Remember."}
    body = {"messages": [{"role": "user", "content": [*blocks, reminder]}]}

    (message,) = with_note(body, "/v1/messages", NOTE)["messages"]

    first, second, third = message["content"]
    assert (first, third) == (blocks[0], reminder)
    assert second["content"].startswith("b\n\n<system-note>")
    assert blocks[1]["content"] == "b"


@pytest.mark.parametrize("items", [None, [], ["text"], [{"role": "assistant", "content": "I"}]])
def test_where_a_note_has_no_place_the_body_stays(items):
    body = {"messages": items}

    assert with_note(body, "/v1/chat/completions", NOTE) is body
