"""Nodes of a cluster on one machine: a network namespace each, on a bridge of their own.

The bridge is in a namespace, too, in which the clients run. Nothing of it is in the machine's
own network, and every node has its own loopback, address and ports, as a machine has, and its
own folders for what Ray and HAProxy write.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

SWITCH = "pm-switch"
OWN = ("/var/tmp", "/dev/shm")
"""Folders that each node has for itself."""

ENDS_WITHIN_S = 20.0


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


class Node:
    """One node; `number` from 1 on."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"pm-node{number}"
        self.address = f"10.93.0.{10 + number}"
        self.run_folder = f"/var/tmp/pm-mn{number}"

    def command(self, command: Sequence[str]) -> list[str]:
        """The command, run on the node: in its network, with its own /var/tmp and /dev/shm."""
        mounts = " && ".join(f"mount --bind {self.own(path)} {path}" for path in OWN)
        on_the_node = ["ip", "netns", "exec", self.name]
        return [*on_the_node, "sh", "-c", f'{mounts} && exec "$@"', "sh", *command]

    def own(self, path: str) -> Path:
        """Where this folder of the node lies on the machine."""
        return Path(path, self.name)

    def make_folders(self) -> None:
        self.remove_folders()
        for path in OWN:
            self.own(path).mkdir()
            self.own(path).chmod(0o1777)

    def remove_folders(self) -> None:
        for path in OWN:
            shutil.rmtree(self.own(path), ignore_errors=True)

    def environment(self, common: Mapping[str, str]) -> dict[str, str]:
        return {**common, "POINTSMAN_RUN": self.run_folder, "POINTSMAN_CLUSTER": "1"}

    def pids(self) -> list[int]:
        return [int(x) for x in ip("netns", "pids", self.name).split()]

    def kill(self) -> int:
        """Kill every process of the node at once, as a loss of power; how many there were."""
        killed = 0
        deadline = time.monotonic() + ENDS_WITHIN_S
        # Those that were just being started are found the next time.
        while (pids := self.pids()) and time.monotonic() < deadline:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
            time.sleep(0.05)
        return killed

    def cut(self) -> None:
        """Pull its cable: nobody hears of it any more, and nothing of it has ended."""
        ip("-n", SWITCH, "link", "set", f"port{self.number}", "down")

    def plug(self) -> None:
        ip("-n", SWITCH, "link", "set", f"port{self.number}", "up")


@contextlib.contextmanager
def network(count: int) -> Iterator[list[Node]]:
    """Make so many nodes; at the end every process in them is killed, and they are removed."""
    nodes = [Node(number) for number in range(1, count + 1)]
    remove(nodes)
    try:
        ip("netns", "add", SWITCH)
        ip("-n", SWITCH, "link", "set", "lo", "up")
        ip("-n", SWITCH, "link", "add", "br0", "type", "bridge")
        ip("-n", SWITCH, "addr", "add", "10.93.0.1/24", "dev", "br0")
        ip("-n", SWITCH, "link", "set", "br0", "up")
        for node in nodes:
            _join(node)
        yield nodes
    finally:
        remove(nodes)


def _join(node: Node) -> None:
    port = f"port{node.number}"
    node.make_folders()
    ip("netns", "add", node.name)
    ip(
        "-n",
        SWITCH,
        "link",
        "add",
        port,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        node.name,
    )
    ip("-n", SWITCH, "link", "set", port, "master", "br0", "up")
    ip("-n", node.name, "link", "set", "lo", "up")
    ip("-n", node.name, "addr", "add", f"{node.address}/24", "dev", "eth0")
    ip("-n", node.name, "link", "set", "eth0", "up")


def remove(nodes: Sequence[Node]) -> None:
    """Remove what there is of them, an earlier run's, too."""
    known = {line.split()[0] for line in ip("netns", "list").splitlines() if line}
    for node in nodes:
        if node.name in known:
            node.kill()
            ip("netns", "del", node.name)
        node.remove_folders()
    if SWITCH in known:
        ip("netns", "del", SWITCH)
