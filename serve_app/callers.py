"""Who calls: with which key, for whom, and whether it can only be someone at this machine."""

from __future__ import annotations

import functools
import ipaddress
import logging
from dataclasses import dataclass
from urllib.parse import urlsplit

from router.errors import Rejected
from serve_app.credentials import RawHeaders, presented_key
from serve_app.endpoint import Scope

logger = logging.getLogger("ray.serve")

PROXY_HEADERS = frozenset(
    {
        b"client-ip",
        b"forwarded",
        b"forwarded-for",
        b"front-end-https",
        b"http-client-ip",
        b"incap-client-ip",
        b"proxy-client-ip",
        b"remote-addr",
        b"remote-user",
        b"rndr-id",
        b"true-client-ip",
        b"via",
        b"wl-proxy-client-ip",
        b"x-amzn-trace-id",
        b"x-client-ip",
        b"x-cloud-trace-context",
        b"x-cluster-client-ip",
        b"x-country-code",
        b"x-host",
        b"x-http-via",
        b"x-https",
        b"x-nginx-proxy",
        b"x-proxyuser-ip",
        b"x-request-start",
        b"x-rewrite-url",
        b"x-scheme",
        b"x-ssl",
        b"x-url-scheme",
        b"x-varnish",
    }
)
PROXY_PREFIXES = (
    b"akamai-",
    b"ali-cdn-",
    b"cdn-",
    b"cf-",
    b"cloudfront-",
    b"eagleeye-",
    b"fastly-",
    b"fly-",
    b"l5d-",
    b"ngrok-",
    b"render-proxy-",
    b"ssl-client-",
    b"tailscale-",
    b"x-akamai-",
    b"x-amz-cf-",
    b"x-amzn-mtls-",
    b"x-amzn-oidc-",
    b"x-appengine-",
    b"x-appgw-",
    b"x-arr-",
    b"x-auth-request-",
    b"x-authentik-",
    b"x-azure-",
    b"x-cdn",
    b"x-client-cert",
    b"x-edge-",
    b"x-envoy-",
    b"x-fd-",
    b"x-forward",
    b"x-goog-iap-",
    b"x-goog-authenticated-user-",
    b"x-google-",
    b"x-istio-",
    b"x-kong-",
    b"x-ms-client-principal",
    b"x-nf-",
    b"x-ngrok-",
    b"x-original",
    b"x-pomerium-",
    b"x-railway-",
    b"x-real-",
    b"x-remote-",
    b"x-ssl-",
    b"x-sucuri-",
    b"x-traefik-",
    b"x-tunnel-",
    b"x-vercel-",
    b"x-webauth-",
)
"""What reverse proxies, tunnels and delivery networks add, and no client does."""


@dataclass(frozen=True, slots=True)
class Caller:
    """What a request says of who sent it.

    Attributes:
        key: one of ours or any other word; a refusal where it is not clear which.
        acts_for: the tenant that it says it acts for, which is a matter of its key.
        stranger: a sentence that says why it needs a key; empty: someone at this machine.
        proxy: the sign that a proxy has left; empty: none was seen.

    """

    key: str | Rejected | None
    acts_for: str | None
    stranger: str
    proxy: str


class ProxyWatch:
    """Remembers that a proxy stands before a deployment which trusts this machine.

    Attributes:
        seen: the sign that told; empty while none has.

    """

    def __init__(self) -> None:
        self.seen = ""

    def note(self, sign: str) -> None:
        """A request came with this sign, or none; the first one is told in the log."""
        if sign and not self.seen:
            self.seen = sign
            logger.warning(proxy_warning(sign))


def proxy_warning(sign: str) -> str:
    """For the operator, who may have opened the deployment to the world without a key."""
    return (
        f"a proxy stands before this deployment ({sign} was seen): what comes through "
        "it needs a key, but a proxy that adds no header cannot be told from this machine. Remove "
        "local_tenant from the tenants file and give every caller a key."
    )


def caller_of(scope: Scope) -> Caller:
    """Who sent a request, or wants to open a socket."""
    headers: list[tuple[bytes, bytes]] = list(scope["headers"])
    target = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    proxy = _proxy_of(headers, scope.get("http_version", "1.1"))
    tenants = [value for value in _all(headers, b"x-tenant-id") if value.strip()]
    return Caller(
        key=presented_key(
            headers,
            b"%s?%s" % (target, scope.get("query_string", b"")),
            scope.get("subprotocols", ()),
        ),
        acts_for=tenants[-1].decode("utf-8", "replace") if tenants else None,
        stranger=_why_stranger(headers, scope.get("client"), proxy),
        proxy=proxy,
    )


def _why_stranger(
    headers: list[tuple[bytes, bytes]], client: tuple[str, int] | None, proxy: str
) -> str:
    """Why this may be someone who is not at this machine; empty if that cannot be.

    HAProxy connects from this machine whoever its client is and names no one, so this
    counts only where nothing listens beyond loopback. A web page in a local browser is
    not its user: the Host and Origin that it cannot choose must name this machine (DNS
    rebinding).
    """
    if proxy:
        return f"The request came through a proxy ({proxy} was seen): that needs a key."
    if not is_loopback(client[0] if client else ""):
        return "Callers from other machines need a key."
    if not all(is_loopback(_host_of(b"//" + x)) for x in _all(headers, b"host")):
        return "The Host header does not name this machine: that needs a key."
    if not all(map(is_loopback_origin, _all(headers, b"origin"))):
        return (
            "The request's Origin is not this machine: pages from elsewhere need a key (and "
            "their origin in cors.allow_origins of the fleet file, to read the answer)."
        )
    return ""


def _proxy_of(headers: RawHeaders, version: str) -> str:
    """How a proxy shows, by a header or by what nginx speaks when it is told nothing."""
    for name, _ in headers:
        if name in PROXY_HEADERS or name.startswith(PROXY_PREFIXES):
            return f"header '{name.decode('latin-1')[:64]}'"
    return "HTTP/1.0" if version == "1.0" else ""


def _all(headers: RawHeaders, wanted: bytes) -> list[bytes]:
    return [value for name, value in headers if name == wanted]


@functools.lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether a name or address stands for this machine alone."""
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def is_loopback_origin(origin: bytes) -> bool:
    """Whether a page was loaded from this machine alone."""
    return is_loopback(_host_of(origin))


def _host_of(url: bytes) -> str:
    try:
        return urlsplit(url.decode("latin-1")).hostname or ""
    except ValueError:
        return ""
