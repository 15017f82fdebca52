"""Ceilings over two ingress replicas: leased, and what a killed ledger changes."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from benchmarks.support.deployment import pids_of
from tests.e2e.streams import words
from tests.e2e.support import REPLACED_S, chat, eventually, new_key, status_of

pytestmark = pytest.mark.busy

LEDGER = "ray::ServeReplica:pointsman:ledger"


def ledger_of(http: httpx.Client, url: str) -> dict | None:
    """The deployment's leases, once every ingress replica has a session."""
    ledger = status_of(http, url).get("ledger")
    leases = (ledger or {}).get("leases", {})
    if len(leases) < 2 or not all(x["has_session"] for x in leases.values()):
        return None
    return ledger


def test_one_stream_gets_nearly_the_whole_rate(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """All demand is on one of two ingress replicas: tokens 0.1 s apart, not 0.2."""
    headers = new_key(tenants_file, "alone", "slow", simulated)
    eventually(lambda: ledger_of(http, simulated))
    body = chat("a long story", stream=True, max_tokens=120)

    begun = time.monotonic()
    with http.stream(
        "POST", f"{simulated}/v1/chat/completions", json=body, headers=headers
    ) as response:
        assert response.status_code == 200
        # An engine that is late merges tokens; the ceiling counts events then.
        said = [(time.monotonic(), n) for line in response.iter_lines() if (n := len(words(line)))]
    times = [at for at, _ in said]
    assert sum(count for _, count in said) == 120
    assert len(times) > 60
    after = times[40:]
    # With at most a second's worth ahead; by the fortieth its replica has the lease.
    assert times[-1] - begun > (len(times) - 12) / 10
    assert after[-1] - after[0] < 0.16 * len(after)


def test_requests_go_on_while_the_ledger_is_killed_and_replaced(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """With what is leased; the new ledger has a higher epoch and leases again."""
    headers = new_key(tenants_file, "steady", "slow", simulated)
    before = eventually(lambda: ledger_of(http, simulated))
    codes: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=60) as own:
            while not stop.is_set():
                answer = own.post(
                    f"{simulated}/v1/chat/completions",
                    json=chat("x", max_tokens=2),
                    headers=headers,
                )
                codes.append(answer.status_code)
                time.sleep(0.4)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        eventually(lambda: len(codes) > 3)
        (pid,) = pids_of(LEDGER)
        os.kill(pid, signal.SIGKILL)

        def is_replaced() -> bool:
            ledger = ledger_of(http, simulated)
            return ledger is not None and ledger["epoch"] > before["epoch"]

        eventually(is_replaced, within_s=REPLACED_S)
        seen = len(codes)
        eventually(lambda: len(codes) > seen + 3)
    finally:
        stop.set()
        asking.join()

    assert set(codes) == {200}
    assert pids_of(LEDGER) != [pid]
    text = http.get(f"{simulated}/metrics").text
    assert "pointsman_ledger_epoch" in text
