"""Whose process listens on a port of this machine.

A secret goes to a loopback port only where the listener is our own or root's: any user
of the machine may listen on a port that nobody has taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

PROC_NET = Path("/proc/net")
LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp."""

LOOPBACK = "127.0.0.1"
ROOT = 0


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket; an IPv6 one may have an IPv4 address."""

    host: IPv4Address | IPv6Address
    port: int
    uid: int
    inode: int
    is_ipv6: bool = False

    def answers(self, host: str) -> bool:
        """Return whether a connection from this machine to `host` may reach this socket."""
        if self.host.is_unspecified:
            return True
        # A name for this machine may mean either family's loopback.
        return self.host.is_loopback if host == "localhost" else self.host == plain(host)


def listeners(proc_net: Path = PROC_NET) -> Iterator[Listener]:
    """Every listening TCP socket of this machine."""
    for name in ("tcp", "tcp6"):
        try:
            rows = (proc_net / name).read_text().splitlines()[1:]
        except OSError:  # no IPv6
            continue
        for row in rows:
            fields = row.split()
            if fields[3] == LISTEN:
                host, _, port = fields[1].partition(":")
                uid, inode = int(fields[7]), int(fields[9])
                yield Listener(_address(host), int(port, 16), uid, inode, name == "tcp6")


def owners_of(port: int, *hosts: str) -> set[int]:
    """Return the user ids of all listeners that a connection to one of the hosts may reach.

    Hosts are loopback addresses, or `localhost`.
    """
    return {x.uid for x in listeners() if x.port == port and any(map(x.answers, hosts))}


def owner_of(port: int, host: str = LOOPBACK) -> int | None:
    """Return the user id of the listener; None without one, or if several users listen."""
    owners = owners_of(port, host)
    return owners.pop() if len(owners) == 1 else None


def is_trusted(port: int, host: str = LOOPBACK) -> bool:
    """Return whether the listener is a process of this user or of root."""
    return owner_of(port, host) in {os.geteuid(), ROOT}


def _address(text: str) -> IPv4Address | IPv6Address:
    """Read an address as the kernel writes it: 32-bit words in the machine's byte order."""
    words = bytes.fromhex(text)
    packed = b"".join(words[i : i + 4][::-1] for i in range(0, len(words), 4))
    return plain(ip_address(packed).compressed)


def plain(host: str) -> IPv4Address | IPv6Address:
    """Read an address; an IPv4-mapped IPv6 address becomes the IPv4 one."""
    address = ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address
