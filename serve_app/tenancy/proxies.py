"""Signs that a proxy stands before a deployment which trusts this machine."""

from __future__ import annotations

import functools
import logging

from serve_app.tenancy.credentials import RawHeaders

logger = logging.getLogger("ray.serve")

PROXY_HEADERS = frozenset(
    {
        b"connect-time",
        b"disguised-host",
        b"forwarded",
        b"front-end-https",
        b"https",
        b"proxy-connection",
        b"remote-addr",
        b"remote-host",
        b"remote-ip",
        b"remote-user",
        b"rndr-id",
        b"surrogate-capability",
        b"total-route-time",
        b"via",
        b"was-default-hostname",
        b"x-amzn-trace-id",
        b"x-cloud-trace-context",
        b"x-coming-from",
        b"x-country-code",
        b"x-host",
        b"x-http-via",
        b"x-https",
        b"x-iinfo",
        b"x-pull",
        b"x-request-start",
        b"x-rewrite-url",
        b"x-scheme",
        b"x-ssl",
        b"x-url-scheme",
        b"x-varnish",
        b"x-via",
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
    b"incap-",
    b"l5d-",
    b"ngrok-",
    b"render-proxy-",
    b"ssl-client-",
    b"tailscale-",
    b"x-akamai-",
    b"x-amz-cf-",
    b"x-amzn-apigateway-",
    b"x-amzn-mtls-",
    b"x-amzn-oidc-",
    b"x-appengine-",
    b"x-appgw-",
    b"x-arr-",
    b"x-auth-request-",
    b"x-authentik-",
    b"x-azure-",
    b"x-bluecoat-",
    b"x-cdn",
    b"x-client-cert",
    b"x-consumer-",
    b"x-envoy-",
    b"x-fd-",
    b"x-forward",
    b"x-goog-iap-",
    b"x-goog-authenticated-user-",
    b"x-google-",
    b"x-haproxy-",
    b"x-incap-",
    b"x-istio-",
    b"x-kong-",
    b"x-ms-client-principal",
    b"x-nf-",
    b"x-nginx-",
    b"x-ngrok-",
    b"x-original",
    b"x-originating-",
    b"x-pomerium-",
    b"x-proxy",
    b"x-railway-",
    b"x-real-",
    b"x-remote-",
    b"x-replit-",
    b"x-ssl-",
    b"x-sucuri-",
    b"x-traefik-",
    b"x-tunnel-",
    b"x-vercel-",
    b"x-webauth-",
)
PROXY_SUFFIXES = (
    b"client-ip",
    b"clientip",
    b"connecting-ip",
    b"forwarded-for",
    b"real-ip",
    b"source-ip",
    b"true-ip",
)
"""What reverse proxies, tunnels and delivery networks add, and no client does.

Left out is what clients send as well: trace contexts (`traceparent`, `x-b3-*`), `x-request-id`,
`x-stainless-*`, `x-goog-api-*`, `x-ms-client-request-id`, `x-edge-*` of Microsoft's browser.
"""


def proxy_sign(headers: RawHeaders, version: str) -> str:
    """Return the sign of a proxy: its header, or HTTP/1.0 as nginx speaks it by default."""
    for name, _ in headers:
        if _is_a_proxys(name):
            return f"header '{name.decode('latin-1')[:64]}'"
    return "HTTP/1.0, as nginx speaks it," if version == "1.0" else ""


@functools.lru_cache(maxsize=512)
def _is_a_proxys(name: bytes) -> bool:
    if name in PROXY_HEADERS:
        return True
    return name.startswith(PROXY_PREFIXES) or name.endswith(PROXY_SUFFIXES)


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
    """Warn the operator, whose deployment may be open to the world without a key."""
    return (
        f"a proxy stands before this deployment ({sign} was seen): what comes through "
        "it needs a key, but a proxy that adds no header cannot be told from this machine. Remove "
        "local_tenant from the tenants file and give every caller a key."
    )
