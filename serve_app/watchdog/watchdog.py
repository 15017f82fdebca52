"""A process beside a lane replica that ends what the replica leaves behind.

    python -I -S watchdog.py REPLICA_PID SILENT_AFTER_S < heartbeats

A replica that is killed outright cannot end its engine, and neither Ray nor vLLM
does it: the engine's processes live on with their memory, on a GPU with the card.
This one waits for the replica's death (a pidfd: no polling, no mistaken identity) or
for its heartbeats on standard input to stop, and kills the replica's whole process group.

It is a member of that group itself. So the group's number cannot be given to others
while there is anything to end, children of children are reached whoever their parent
is by then, and nobody has to be told which processes there are. Standard library
only, and nothing of this package: it is to be small (8 MiB) and to keep working.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

TICK_S = 1.0
# A process in an uninterruptible sleep takes SIGKILL when its system call returns.
SWEEP_S = 30.0
# multiprocessing's tracker unlinks shared memory when its last user has gone. Killed,
# it would leave the engine's message queues in /dev/shm.
TRACKER = b"multiprocessing.resource_tracker"
TRACKER_S = 5.0


class Silence:
    """How long the heartbeats have been missing, in time that this process was awake.

    When both are stopped (a debugger, a suspended machine) the replica must not be
    found guilty of the pause: a tick counts as a tick, however long it took. No time
    passes until the first heartbeat has come.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._has_begun = False

    def end(self) -> None:
        self._has_begun = True
        self.seconds = 0.0

    def tick(self, elapsed_s: float) -> None:
        if self._has_begun:
            self.seconds += min(elapsed_s, 2 * TICK_S)


def wait_for_death(replica: int, heartbeats: int, silent_after_s: float) -> str:
    """Block until the replica has died or fallen silent; return which.

    `replica` is its pidfd, and any byte on `heartbeats` is a sign of life. Silence is
    `silent_after_s` without one, after the first.
    """
    silence = Silence()
    poll = select.poll()
    poll.register(replica, select.POLLIN)
    poll.register(heartbeats, select.POLLIN)
    while silence.seconds < silent_after_s:
        begun = time.monotonic()
        ready = {fd for fd, _ in poll.poll(int(TICK_S * 1000))}
        if replica in ready:
            return "died"
        if heartbeats not in ready:
            silence.tick(time.monotonic() - begun)
        elif os.read(heartbeats, 4096):
            silence.end()
        else:
            # Closed: the replica is on its way out, which the pidfd will tell.
            poll.unregister(heartbeats)
            silence = Silence()
    return f"was silent for {silence.seconds:.0f} s"


def members(group: int) -> dict[int, bytes]:
    """The living processes of a group, this one left out: pid to command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            state, _, pgrp = (entry / "stat").read_text().rpartition(") ")[2].split()[:3]
            if int(pgrp) == group and state not in "ZX":
                found[int(entry.name)] = (entry / "cmdline").read_bytes()
    return found


def sweep(group: int) -> None:
    """Kill every process of the group but multiprocessing's trackers, then those."""

    def others() -> list[int]:
        return [pid for pid, line in members(group).items() if TRACKER not in line]

    _until(lambda: not _kill(others(), group), SWEEP_S)
    _until(lambda: not members(group), TRACKER_S)
    _until(lambda: not _kill(list(members(group)), group), SWEEP_S)


def _kill(pids: list[int], group: int) -> list[int]:
    """Send SIGKILL to those that are still of the group; return what was asked."""
    for pid in pids:
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(pid)
            try:
                # The pidfd holds this process; what it is called is asked after that.
                if os.getpgid(pid) == group:
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            finally:
                os.close(fd)
    return pids


def _until(is_done: Callable[[], bool], within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while not is_done() and time.monotonic() < deadline:
        time.sleep(0.02)


def main(pid: int, silent_after_s: float) -> int:
    """Take up the watch; the process that was started ends, its child stays.

    Orphaned on purpose: a worker of Ray that exits kills its direct children.
    """
    group = os.getpgrp()
    if group != pid:
        print(f"watchdog: {pid} does not lead process group {group}", file=sys.stderr)
        return 1
    try:
        replica = os.pidfd_open(pid)
    except ProcessLookupError:
        # Dead before the watch began. No other process has its number: its group lives.
        sweep(group)
        return 0
    if os.fork():
        return 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    fate = wait_for_death(replica, sys.stdin.fileno(), silent_after_s)
    left = len(members(group))
    if left:
        print(f"watchdog: replica {pid} {fate}; ending {left} processes", file=sys.stderr)
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(replica, signal.SIGKILL)
    sweep(group)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
