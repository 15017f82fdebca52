"""This machine's admin key, for the commands that operate the deployment on it.

The key goes to nobody but this user's own process, or root's: whoever got hold of the port
first may be a neighbour.
"""

from __future__ import annotations

import os
import socket
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

from serve_app.machine.port_owner import ROOT, owners_of, plain
from serve_app.tenancy.local_key import kept_admin_key

Address = IPv4Address | IPv6Address
PORTS = {"http": 80, "https": 443}


class NotOurs(Exception):
    """Somebody else's process listens where the deployment should."""


def key_for(url: str) -> str | None:
    """Return the key for a URL of this machine; None without a key or without a listener.

    Raises NotOurs.
    """
    parts = urlsplit(url)
    port = parts.port or PORTS.get(parts.scheme, 80)
    addresses = _addresses(parts.hostname or "", port)
    key = kept_admin_key()
    if key is None or not addresses or not all(x.is_loopback for x in addresses):
        return None
    owners = owners_of(port, *map(str, addresses))
    strangers = owners - {ROOT, os.geteuid()}
    if strangers:
        raise NotOurs(
            f"port {port} of this machine is held by another user (uid {min(strangers)}), who is "
            "not sent this machine's admin key; give --key if that is the deployment"
        )
    return key if owners else None


def _addresses(host: str, port: int) -> set[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {plain(str(row[4][0]).partition("%")[0]) for row in found}
