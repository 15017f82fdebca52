"""Engine and replica end together, whichever is lost."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serve_app.watchdog import watchdog

HERE = Path(__file__).parent
ROOT = HERE.parents[3]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except OSError:
        return False
    return state not in "ZX"


def until(check, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not check():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.02)


class Replica:
    """The process of `heartbeat_process.py` and what it started."""

    def __init__(self, how: str, silent_after_s: float = 600) -> None:
        command = [sys.executable, str(HERE / "heartbeat_process.py"), how, str(silent_after_s)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        told = json.loads(self.process.stdout.readline())
        self.core, self.worker = told["core"], told["worker"]
        self.children = told["children"]
        self.memory = Path("/dev/shm") / told["memory"]

    @property
    def pid(self) -> int:
        return self.process.pid

    def members(self) -> dict[int, bytes]:
        return watchdog.members(self.pid)

    def watchdog(self) -> int:
        (pid,) = (pid for pid, line in self.members().items() if b"watchdog.py" in line)
        return pid

    def end(self) -> None:
        for pid in (self.pid, *self.members()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def replica():
    started = []

    def start(*args) -> Replica:
        started.append(Replica(*args))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_a_killed_replica_takes_engine_worker_and_shared_memory_with_it(replica):
    """SIGKILL leaves it no last word; the watchdog has it."""
    made = replica("alive")
    assert is_alive(made.core) and is_alive(made.worker) and made.memory.exists()

    os.kill(made.pid, signal.SIGKILL)
    made.process.wait()

    until(lambda: not made.members())
    assert not is_alive(made.core) and not is_alive(made.worker)
    assert not made.memory.exists()


def test_a_stopped_engine_is_ended_too(replica):
    """SIGSTOP defers every signal but SIGKILL."""
    made = replica("alive")
    for pid in (made.core, made.worker):
        os.kill(pid, signal.SIGSTOP)

    os.kill(made.pid, signal.SIGKILL)
    made.process.wait()

    until(lambda: not made.members())


def test_a_replica_that_exits_by_itself_leaves_nothing(replica):
    """The engine's end ends the stand-in; the watchdog goes as well."""
    made = replica("mute")

    os.kill(made.worker, signal.SIGKILL)

    assert made.process.wait(20) == 0
    until(lambda: not made.members())


def test_a_stopped_replica_is_ended_after_its_silence(replica):
    """SIGSTOP of the replica: no heartbeats, no replica, no engine."""
    made = replica("alive", 2)

    os.kill(made.pid, signal.SIGSTOP)

    assert made.process.wait(20) == -signal.SIGKILL
    until(lambda: not made.members())


def test_an_event_loop_that_stands_still_is_ended(replica):
    """Heartbeats come from the event loop, so that a blocked one has none."""
    made = replica("still", 2)

    assert made.process.wait(20) == -signal.SIGKILL
    until(lambda: not made.members())


def test_a_replica_that_still_loads_is_not_silent(replica):
    """The count begins with the first heartbeat: a load blocks the loop for minutes."""
    made = replica("mute", 0.5)

    with pytest.raises(subprocess.TimeoutExpired):
        made.process.wait(2.5)

    assert is_alive(made.core)


def test_a_lost_watchdog_is_replaced(replica):
    """Nothing else would notice; the next heartbeat does."""
    made = replica("alive")
    first = made.watchdog()

    os.kill(first, signal.SIGKILL)
    until(lambda: any(b"watchdog.py" in x for p, x in made.members().items() if p != first))
    os.kill(made.pid, signal.SIGKILL)
    made.process.wait()

    until(lambda: not made.members())


def test_the_watchdog_is_no_child_of_the_replica(replica):
    """A worker of Ray that exits kills its direct children first."""
    made = replica("alive")

    assert made.watchdog() not in made.children
