"""Losing parts of a replica on real vLLM engines: nothing stays behind, and Serve replaces it.

Sorted after `test_real_engine.py`, whose deployment it shares.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest

from benchmarks.support.deployment import pids_of, rss_mib
from serve_app.watchdog.watchdog import members
from tests.e2e.support import LOADED_S, await_two_chat_replicas, chat, chat_replicas, eventually

CHAT = "ray::ServeReplica:pointsman:lane:chat"
SHM_SLACK_BYTES = 32 * 2**20


def parts(actor: int) -> dict[str, int]:
    """The processes of a replica by what they are."""
    found = {"actor": actor}
    for pid, line in members(actor).items():
        for name in ("EngineCore", "Worker"):
            if line.startswith(f"VLLM::{name}".encode()):
                found[name] = pid
    return found


def reasons() -> Counter[str]:
    """Why replicas of the lane said that they end: names of errors, from Serve's logs."""
    folder = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray/session_latest/logs/serve")
    said = re.compile(r"lane 'chat': lost its engine \((\w+):")
    return Counter(
        name for log in folder.glob("replica_*chat*.log*") for name in said.findall(log.read_text())
    )


@pytest.mark.parametrize(
    ("part", "number"),
    [
        ("actor", signal.SIGKILL),
        ("EngineCore", signal.SIGKILL),
        ("Worker", signal.SIGKILL),
        ("EngineCore", signal.SIGSTOP),
        ("Worker", signal.SIGSTOP),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_lost_part_takes_its_replica_along_and_another_comes(
    real: str, http: httpx.Client, part: str, number: signal.Signals
) -> None:
    """No process and no shared memory of it is left; requests are answered all the while.

    A part that is gone is noticed as that, not by its silence.
    """
    before = set(await_two_chat_replicas(http, real))
    shm = shutil.disk_usage("/dev/shm").used
    actor = pids_of(CHAT)[0]
    lost = parts(actor)
    assert set(lost) == {"actor", "EngineCore", "Worker"}
    assert rss_mib(list(members(actor))) > 500
    codes: list[int] = []
    told = reasons()

    os.kill(lost[part], number)

    def ask(session: int) -> None:
        with httpx.Client(timeout=180) as own:
            headers = {"x-session-id": f"lost-{part}-{number.name}-{session}"}
            body = chat("hello", max_tokens=2)
            codes.append(
                own.post(f"{real}/v1/chat/completions", json=body, headers=headers).status_code
            )

    eventually(lambda: not Path(f"/proc/{actor}").exists() and not members(actor), within_s=180)
    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 4
    if part != "actor":
        (reason,) = (reasons() - told).elements()
        assert (reason == "EngineSilent") == (number is signal.SIGSTOP)
    eventually(
        lambda: len(now := set(chat_replicas(http, real))) == 2 and now != before,
        within_s=LOADED_S,
        every_s=1,
    )
    eventually(lambda: shutil.disk_usage("/dev/shm").used <= shm + SHM_SLACK_BYTES)
