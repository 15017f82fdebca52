"""Conversations whose system prompt changes each turn, on real engines over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

RULES = "You are the assistant of a shop that sells bicycles. Answer in one short sentence."
ROUTES = ("/v1/chat/completions", "/v1/messages", "/v1/responses")


def prompt(turn: int) -> str:
    """A system prompt as agents write it: a header, a clock, a counter, git's status."""
    changed = "".join(f"M src/file_{number}.py\n" for number in range(turn)) or "(clean)\n"
    return (
        f"x-anthropic-billing-header: cc_version=2.1.{turn}; cc_entrypoint=cli; cch=36ee{turn};\n"
        f"{RULES}\n"
        f"It is Sunday, {25 + turn} November 2026, 10:0{turn}:33 AM (Europe/Berlin, UTC+1:00).\n"
        f"You have {turn + 1} file{'s' if turn else ''} open.\n"
        f"gitStatus: as it was.\nCurrent branch: work-{turn}\n\nStatus:\n{changed}\n"
        "Be kind.\n"
    )


def body(path: str, turn: int, question: str) -> dict[str, Any]:
    """The whole conversation up to this turn."""
    items = [{"role": "user", "content": question}]
    for number in range(turn):
        items.append({"role": "assistant", "content": f"Yes, number {number}."})
        items.append({"role": "user", "content": f"And number {number + 1}?"})
    if path == "/v1/messages":
        return {"system": prompt(turn), "messages": items, "max_tokens": 2, "model": "chat"}
    if path == "/v1/responses":
        more = {"max_output_tokens": 2, "store": False, "model": "chat"}
        return {"instructions": prompt(turn), "input": items, **more}
    messages = [{"role": "system", "content": prompt(turn)}, *items]
    return {"messages": messages, "max_tokens": 2, "model": "chat"}


def sessions(http: httpx.Client, url: str, path: str, question: str) -> list[str]:
    """The session of each of three turns, as the answers tell it."""
    told = []
    for turn in range(3):
        answer = http.post(f"{url}{path}", json=body(path, turn, question))
        assert answer.status_code == 200, answer.text
        told.append(answer.headers["x-session-id"])
    return told


@pytest.mark.parametrize("path", ROUTES)
def test_a_conversation_with_a_clock_is_one_session(
    real: str, http: httpx.Client, path: str
) -> None:
    """All turns, on all routes; another first question is another conversation."""
    first = sessions(http, real, path, "Do you sell red ones?")
    other = sessions(http, real, path, "Do you sell blue ones?")

    assert len(set(first)) == len(set(other)) == 1
    assert first[0].startswith("derived-") and first[0] != other[0]


def test_the_dry_run_tells_the_same_session(real: str, http: httpx.Client) -> None:
    """What would be decided is decided by the same words."""
    sent = body("/v1/chat/completions", 2, "Do you sell green ones?")
    served = sessions(http, real, "/v1/chat/completions", "Do you sell green ones?")

    assert http.post(f"{real}/v1/route", json=sent).json()["session_id"] == served[0]
