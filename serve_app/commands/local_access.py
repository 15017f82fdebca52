"""This machine's admin key, for the commands that operate the deployment on it.

The key goes to nobody but this user's own process, or root's: whoever got hold of the port
first may be a neighbour.
"""

from __future__ import annotations

import os
import socket
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

from serve_app.local_key import kept_admin_key

PROC = Path("/proc/net")
LISTENS = "0A"
PORTS = {"http": 80, "https": 443}


class NotOurs(Exception):
    """Somebody else's process listens where the deployment should."""


def key_for(url: str) -> str | None:
    """The key for a URL of this machine; None: there is none, or nobody to send it to.

    Raises NotOurs.
    """
    parts = urlsplit(url)
    port = parts.port or PORTS.get(parts.scheme, 80)
    addresses = _addresses(parts.hostname or "", port)
    key = kept_admin_key()
    if key is None or not addresses or not all(x.is_loopback for x in addresses):
        return None
    owners = _owners(addresses, port)
    strangers = owners - {0, os.geteuid()}
    if strangers:
        raise NotOurs(
            f"port {port} of this machine is held by another user (uid {min(strangers)}), who is "
            "not sent this machine's admin key; give --key if that is the deployment"
        )
    return key if owners else None


def _addresses(host: str, port: int) -> set[IPv4Address | IPv6Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {_plain(ip_address(str(row[4][0]).partition("%")[0])) for row in found}


def _owners(addresses: set[IPv4Address | IPv6Address], port: int) -> set[int]:
    """User ids of those who listen where a connection to any of the addresses may end."""
    return {
        uid
        for address, at, uid in _listeners()
        if at == port and (address in addresses or address.is_unspecified)
    }


def _listeners() -> list[tuple[IPv4Address | IPv6Address, int, int]]:
    """Address, port and user id of every TCP socket that listens."""
    rows = []
    for name in ("tcp", "tcp6"):
        try:
            lines = (PROC / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == LISTENS:
                address, _, at = fields[1].partition(":")
                rows.append((_address(address), int(at, 16), int(fields[7])))
    return rows


def _address(text: str) -> IPv4Address | IPv6Address:
    """The kernel prints words of 32 bits as this machine's integers."""
    words = [bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8)]
    raw = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return _plain(ip_address(raw))


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return getattr(address, "ipv4_mapped", None) or address
