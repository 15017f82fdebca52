"""Two lanes that share a card, as Serve runs them: arbiter, gates and replicas in processes."""

from __future__ import annotations

from typing import Any

import httpx

from tests.e2e.support import chat, eventually, status_of

LANES = frozenset({"day", "night"})


def phases(http: httpx.Client, url: str) -> dict[str, str]:
    """Of both lanes, as far as their replicas tell."""
    lanes: dict[str, Any] = status_of(http, url).get("lanes", {})
    return {name: row["phase"] for name in LANES & lanes.keys() for row in lanes[name]["replicas"]}


def test_a_sleeping_lane_is_woken_by_a_request_and_the_other_rests(
    simulated: str, http: httpx.Client
) -> None:
    def one_awake() -> str | None:
        """The lane that has the card, once the other one has been loaded and sleeps."""
        found = phases(http, simulated)
        is_settled = sorted(found.values()) == ["asleep", "awake"]
        return next(x for x in found if found[x] == "awake") if is_settled else None

    awake = eventually(one_awake)
    (asleep,) = LANES - {awake}

    answer = http.post(
        f"{simulated}/v1/chat/completions", json=chat("Hello", model=asleep, max_tokens=3)
    )

    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] == f"simulated-{asleep}"
    assert answer.headers["x-pointsman-reason"] == "waking"
    assert eventually(one_awake) == asleep
    swap = status_of(http, simulated)["lanes"][awake]["sleep"]
    assert (swap["pool"], swap["waiting"]) == ("pool-a", 0)
