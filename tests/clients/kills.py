"""Replicas that are killed while they stream to a client.

The replica that answers a stream is known from the answer's head, its process from the log
file that it has open. It gets SIGKILL after a few events and a moment, both drawn from the
run's name: within reasoning, text, or a call that is not shown yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from benchmarks.support.deployment import pids_of

LANE = "ray::ServeReplica:pointsman:lane:chat"
ENDS = (b"[DONE]", b"event: message_stop", b"event: response.completed")
MOST_EVENTS = 8
MOST_DELAY_S = 0.3

_REPLICA = re.compile(rb"x-pointsman-replica: (\S+)")


class Replicas:
    """The lane's replicas, of which one stays: with none there is nobody to go on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.killed = 0

    def loaded(self) -> dict[str, int]:
        """The processes that serve, by the ids of their replicas."""
        found = {}
        for pid in pids_of(LANE):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if b"initialize" not in line:
                    found |= dict.fromkeys(_names(pid), pid)
        return found

    def await_loaded(self, count: int, within_s: float = 120) -> None:
        """Wait until so many replicas serve."""
        deadline = time.monotonic() + within_s
        while len(self.loaded()) < count:
            assert time.monotonic() < deadline, f"no {count} replicas within {within_s} s"
            time.sleep(0.2)

    def kill(self, name: str) -> bool:
        """Kill a replica, if another one serves."""
        with self._lock:
            serving = self.loaded()
            if name not in serving or len(serving) < 2:
                return False
            os.kill(serving[name], signal.SIGKILL)
            self.killed += 1
            return True


def _names(pid: int) -> list[str]:
    """The id of the replica that a process is: its log is called so."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            name = link.readlink().name
            if name.startswith("replica_pointsman_lane_chat_"):
                return [name.removesuffix(".log").rpartition("_")[2]]
    return []


class Loss:
    """One run's: the replica that streams to it is killed, once.

    Attributes:
        hit: streams that had begun and had not ended when it happened.

    """

    def __init__(self, replicas: Replicas, name: str) -> None:
        self._replicas = replicas
        self._random = Random(name)
        self._least_streams = self._random.randint(1, 2)
        self._streams = 0
        self._is_due = False
        self.hit = 0

    def watch(self) -> Callable[[bytes], None]:
        """A connection: what sees all that comes back on it."""
        return _Watch(self).see

    def begin(self) -> int | None:
        """A stream begins: after how many events it is broken; None: not this one."""
        self._streams += 1
        if self._is_due or self.hit or self._streams < self._least_streams:
            return None
        return self._random.randint(1, MOST_EVENTS)

    def strike(self, stream: _Watch) -> None:
        """Kill the stream's replica in a moment, unless the stream is over by then."""
        self._is_due = True
        delay_s = self._random.choice((0.0, self._random.uniform(0, MOST_DELAY_S)))
        asyncio.get_running_loop().call_later(delay_s, self._strike, stream)

    def _strike(self, stream: _Watch) -> None:
        self._is_due = False
        if not stream.is_over and self._replicas.kill(stream.replica):
            self.hit += 1


class _Watch:
    """The answers on one connection, of which the last one counts."""

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._left: int | None = None
        self.replica = ""
        self.is_over = True

    def see(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 "):
            self.is_over = b"text/event-stream" not in data
            named = _REPLICA.search(data)
            self.replica = named[1].decode().rpartition("#")[2] if named else ""
            self._left = None if self.is_over else self._loss.begin()
        if any(end in data for end in ENDS):
            self.is_over = True
        if self.is_over or self._left is None:
            return
        self._left -= data.count(b"\n\n")
        if self._left <= 0:
            self._left = None
            self._loss.strike(self)
