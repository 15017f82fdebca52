"""Who calls: with which key, for whom, and whether it can only be someone at this machine."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Container
from dataclasses import dataclass, field, replace

from starlette.types import Scope

from router.errors import Rejected
from serve_app.tenancy.credentials import RawHeaders, presented_key
from serve_app.tenancy.proxies import proxy_sign

_AUTHORITY = rb"(\[[0-9a-f:.]+\]|[^][/\\@:?#,\s]+)(?::[0-9]{0,5})?"
_HOST = re.compile(_AUTHORITY, re.IGNORECASE)
_ORIGIN = re.compile(rb"[a-z][a-z0-9+.-]*://" + _AUTHORITY, re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request says of who sent it.

    Attributes:
        key: one of ours or any other word; a refusal where it is not clear which.
        acts_for: the tenant that it says it acts for, which is a matter of its key.
        stranger: a sentence that says why it needs a key; empty: someone at this machine.
        proxy: the sign that a proxy has left; empty: none was seen.
        page: the Origin in small letters, where it is not this server's own; empty: it is,
            or no browser has sent one.

    """

    key: str | Rejected | None = field(repr=False)
    acts_for: str | None
    stranger: str
    proxy: str
    page: str = ""


def caller_of(scope: Scope) -> Caller:
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    target = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    proxy = proxy_sign(headers, scope.get("http_version", "1.1"))
    hosts, origins, tenants = _named(headers)
    return Caller(
        key=presented_key(
            headers,
            b"%s?%s" % (target, scope.get("query_string", b"")),
            scope.get("subprotocols", ()),
        ),
        acts_for=tenants[-1].decode("utf-8", "replace") if tenants else None,
        stranger=_why_stranger(hosts, origins, scope.get("client"), proxy),
        proxy=proxy,
        page=_foreign_page(hosts, origins) if origins else "",
    )


def bar_pages(caller: Caller, allowed: Container[str] = ()) -> Caller:
    """The same; a page of another origin than this server's, or those allowed, needs a key.

    Browsers ask nobody before a page opens a socket, and any page on any port of this
    machine names this machine.
    """
    if caller.stranger or not caller.page or caller.page in allowed:
        return caller
    return replace(
        caller,
        stranger="The request's Origin is not this server's own: here such pages need a key (or, "
        "for a socket, their origin in cors.allow_origins of the fleet file).",
    )


def _foreign_page(hosts: list[bytes], origins: list[bytes]) -> str:
    """Return the first Origin that is not this server's own by its Host header; or nothing."""
    own = [scheme + host.lower() for host in hosts for scheme in (b"http://", b"https://")]
    small = [origin.lower() for origin in origins]
    return next((x.decode("latin-1") for x in small if x not in own), "")


def _why_stranger(
    hosts: list[bytes], origins: list[bytes], client: tuple[str, int] | None, proxy: str
) -> str:
    """Why this may be someone who is not at this machine; empty if that cannot be.

    HAProxy connects from this machine whoever its client is and names no one, so this
    counts only where nothing listens beyond loopback. A web page in a local browser is
    not its user: the Host and Origin that it cannot choose must name this machine (DNS
    rebinding).
    """
    if proxy:
        return f"The request came through a proxy ({proxy} was seen): that needs a key."
    if not _is_loopback_address(client[0] if client else ""):
        return "Callers from other machines need a key."
    if not all(map(names_this_machine, hosts)):
        return "The Host header does not name this machine: that needs a key."
    if not all(map(is_loopback_origin, origins)):
        return (
            "The request's Origin is not this machine: pages from elsewhere need a key (and "
            "their origin in cors.allow_origins of the fleet file, to read the answer)."
        )
    return ""


def _named(headers: RawHeaders) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """The lines of Host, of Origin, and of the tenant that is acted for, blank ones left out."""
    hosts: list[bytes] = []
    origins: list[bytes] = []
    tenants: list[bytes] = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"origin":
            origins.append(value)
        elif name == b"x-tenant-id" and value.strip():
            tenants.append(value)
    return hosts, origins, tenants


def is_loopback(host: str) -> bool:
    """Return whether a name or address is a loopback one."""
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


_is_loopback_address = functools.lru_cache(maxsize=256)(is_loopback)


@functools.lru_cache(maxsize=256)
def is_loopback_origin(origin: bytes) -> bool:
    """Return whether a page was loaded from a loopback address."""
    return _names_loopback(_ORIGIN.fullmatch(origin))


@functools.lru_cache(maxsize=256)
def names_this_machine(host: bytes) -> bool:
    """Return whether a Host header names a loopback address."""
    return _names_loopback(_HOST.fullmatch(host))


def _names_loopback(found: re.Match[bytes] | None) -> bool:
    return found is not None and is_loopback(found[1].decode("latin-1").strip("[]"))
