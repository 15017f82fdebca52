"""Processes of lane replicas: parts, ports, and what must not stay behind of one that is lost."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.support.deployment import pids_of, rss_mib
from serve_app.watchdog.watchdog import members
from tests.e2e.support import LOADED_S, chat, eventually

CHAT = "ray::ServeReplica:pointsman:lane:chat"
QUALITY = "ray::ServeReplica:pointsman:lane:quality"

LEFT_BYTES = 4 * 2**20
"""Of shared memory, after a replica: on a busy machine its files may stay, whose pages nearly
all were never written."""


def parts(actor: int) -> dict[str, int]:
    """The processes of a replica by what they are."""
    found = {"actor": actor}
    for pid, line in members(actor).items():
        for name in ("EngineCore", "Worker"):
            if line.startswith(f"VLLM::{name}".encode()):
                found[name] = pid
    return found


def listening_ports(pids: Iterable[int]) -> list[int]:
    """TCP ports that these processes listen on."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    ports = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                ports.append(int(fields[1].rpartition(":")[2], 16))
    return ports


@dataclass(frozen=True)
class Redeploy:
    """A redeploy that has begun under open streams; these have ended.

    Attributes:
        before: processes of the replicas that it replaces.
        usages: what each stream counted.

    """

    before: set[int]
    usages: list[dict[str, int]]


class Loss:
    """One replica of a lane, from the signal to one of its parts on.

    What it has is looked up beforehand, so that the signal comes when it is sent.

    Args:
        replica: how the processes of the lane's replicas are called.
        part: `actor`, `EngineCore` or `Worker`.
        name: the replica's id, as answers say it. Else whichever has loaded.

    """

    def __init__(self, replica: str, part: str, name: str = "") -> None:
        self._replica, self._part = replica, part
        self._lane = replica.rpartition(":")[2]
        self._before = set(pids_of(replica))
        # Not one that still loads.
        loaded = [pid for pid in self._before if part in parts(pid)]
        self.actor = next(pid for pid in sorted(loaded) if not name or _is_called(pid, name))
        self.parts = parts(self.actor)
        pids = list(members(self.actor))
        self._shared = set().union(*map(_shared_memory, pids))
        assert rss_mib(pids) > 500
        assert self._shared or "Worker" not in self.parts
        self._told = _reasons(self._lane)

    def send(self, number: signal.Signals) -> Loss:
        """Send the part a signal."""
        os.kill(self.parts[self._part], number)
        return self

    def await_end(self) -> None:
        """All of its processes go, and what they shared in memory."""
        eventually(
            lambda: not Path(f"/proc/{self.actor}").exists() and not members(self.actor),
            within_s=180,
            every_s=0.2,
        )
        eventually(lambda: sum(map(_pages, self._shared)) <= LEFT_BYTES)

    def await_another(self) -> None:
        """Serve starts another replica; who needs it waits until it has loaded."""
        eventually(lambda: set(pids_of(self._replica)) - self._before, within_s=LOADED_S)

    def reason(self) -> str:
        """Why a replica of the lane has said that it ends: the name of an error."""
        (found,) = (_reasons(self._lane) - self._told).elements()
        return found


def _is_called(actor: int, name: str) -> bool:
    """Return whether a replica has this id: it is in the name of the log that it writes."""
    files = Path(f"/proc/{actor}/fd").iterdir()
    return any(file.readlink().name.endswith(f"_{name}.log") for file in files)


def _shared_memory(pid: int) -> set[Path]:
    """The files in /dev/shm that a process has mapped; Ray's have no name any more."""
    with contextlib.suppress(OSError):
        fields = [x.split(maxsplit=5) for x in Path(f"/proc/{pid}/maps").read_text().splitlines()]
        names = {x[5] for x in fields if len(x) == 6 and x[5].startswith("/dev/shm/")}
        return {Path(x) for x in names if not x.endswith(" (deleted)")}
    return set()


def _pages(file: Path) -> int:
    """Bytes of memory that a file in /dev/shm takes."""
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_blocks * 512
    return 0


def _reasons(lane: str) -> Counter[str]:
    """What the lane's replicas have said so far, from Serve's logs."""
    folder = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray/session_latest/logs/serve")
    said = re.compile(rf"lane '{lane}': lost its engine \((\w+):")
    logs = folder.glob(f"replica_*{lane}*.log*")
    return Counter(name for log in logs for name in said.findall(log.read_text()))


def codes_of(url: str, sessions: list[str]) -> list[int]:
    """The answers to requests at once, each of a session of its own."""

    def ask(session: str) -> int:
        with httpx.Client(timeout=180) as own:
            answer = own.post(
                f"{url}/v1/chat/completions",
                json=chat("hello", max_tokens=2),
                headers={"x-session-id": session},
            )
        return answer.status_code

    with ThreadPoolExecutor(len(sessions)) as pool:
        return list(pool.map(ask, sessions))
