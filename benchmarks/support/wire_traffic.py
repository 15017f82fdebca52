"""Who sends whom how many bytes, as the kernel counts them on each TCP connection.

`ss -tinp` (iproute2) names both ends of every connection of this machine and what it has sent. What
Ray's calls, Serve's and our own weigh on the wire is then counted, framing included, and no
process that is measured does anything for it. Not counted: Unix sockets (a process and its
raylet), and connections that began and ended between two looks.
"""

from __future__ import annotations

import re
import socket
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_PID = re.compile(r"pid=(\d+)")
_SENT, _SEGMENTS = re.compile(r"bytes_acked:(\d+)"), re.compile(r"data_segs_out:(\d+)")

ROLES = {
    "ray::ServeReplica:pointsman:ingress": "ingress",
    "ray::ServeReplica:pointsman:ledger": "ledger",
    "ray::ServeReplica:pointsman:lane": "lane",
    "ray::ServeController": "controller",
    "haproxy": "haproxy",
    "gcs_server": "gcs",
    "raylet": "raylet",
    "ray::DashboardAgent": "agent",
}
"""The beginning of a command line, or of its program's name, to what the process is here."""

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes and segments with bytes that one end of a connection has sent."""

    sender: str
    taker: str
    local: str
    remote: str
    size: int
    segments: int


def role_of(pid: int) -> str:
    """What a process is; `other` for what is none of the deployment's."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "other"
    line = words[0].decode("utf-8", "replace").strip()
    name = line.split(" ")[0].rpartition("/")[2]
    return next(
        (x for begin, x in ROLES.items() if line.startswith(begin) or name == begin), "other"
    )


def look() -> list[Sent]:
    """Every established connection with both ends on this machine, once for each end."""
    told = subprocess.run(["ss", "-tinpH"], capture_output=True, text=True, check=True).stdout
    return parse(told, role_of)


def parse(told: str, role: Callable[[int], str]) -> list[Sent]:
    """Read what `ss -tinpH` printed: two lines a socket, the second indented."""
    ends: dict[tuple[str, str], tuple[str, int, int]] = {}
    roles: dict[int, str] = {}
    lines = told.splitlines()
    for head, figures in pairwise(lines):
        if head[:1].isspace() or not figures[:1].isspace():
            continue
        fields = head.split()
        pid = _PID.search(head)
        if fields[0] != "ESTAB" or pid is None:
            continue
        number = int(pid.group(1))
        who = roles.setdefault(number, role(number))
        sizes = (_SENT.search(figures), _SEGMENTS.search(figures))
        sent, segments = (0 if x is None else int(x.group(1)) for x in sizes)
        ends[_plain(fields[3]), _plain(fields[4])] = (who, sent, segments)
    return [
        Sent(who, ends[remote, local][0], local, remote, sent, segments)
        for (local, remote), (who, sent, segments) in ends.items()
        if (remote, local) in ends
    ]


def _plain(address: str) -> str:
    """An IPv4 address in IPv6's clothes is the same one."""
    return address.replace("[::ffff:", "").replace("]", "")


def by_pair(
    before: Iterable[Sent], after: Iterable[Sent], without_ports: Iterable[int] = ()
) -> dict[Pair, tuple[int, int]]:
    """Bytes and segments between two looks, by what sent and what took them.

    A connection that is new counts whole. `without_ports`: leave out what goes to or from these.
    """
    left_out = {str(port) for port in without_ports}
    known = {(x.local, x.remote): x for x in before}
    sums: dict[Pair, list[int]] = defaultdict(lambda: [0, 0])
    for x in after:
        if left_out & {x.local.rpartition(":")[2], x.remote.rpartition(":")[2]}:
            continue
        was = known.get((x.local, x.remote))
        # A port that was taken again by another connection has sent less.
        is_same = was is not None and was.size <= x.size
        sums[x.sender, x.taker][0] += x.size - (was.size if is_same and was else 0)
        sums[x.sender, x.taker][1] += x.segments - (was.segments if is_same and was else 0)
    return {pair: (size, segments) for pair, (size, segments) in sums.items()}


def http_ports(role: str) -> list[int]:
    """Ports of a role's processes that speak HTTP/1.1: those that tokens come through."""
    told = subprocess.run(["ss", "-tlnpH"], capture_output=True, text=True, check=True).stdout
    found = []
    for line in told.splitlines():
        pid = _PID.search(line)
        if pid is not None and role_of(int(pid.group(1))) == role:
            port = int(line.split()[3].rpartition(":")[2])
            if _speaks_http(port):
                found.append(port)
    return found


def _speaks_http(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as line:
        line.settimeout(2)
        line.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        return line.recv(8) == b"HTTP/1.1"
    return False
