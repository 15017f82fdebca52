"""A proxy ends keyless access, and says so."""

from __future__ import annotations

import logging

import pytest

from serve_app.tenancy.callers import caller_of
from tests.unit.serve_app.tenancy.test_identity import KEY, ask

pytestmark = pytest.mark.security


PROXY_HEADERS = [
    ("x-forwarded-for", "203.0.113.5"),
    ("x-forwarded-for", "127.0.0.1"),
    ("forwarded", "for=203.0.113.5;proto=https"),
    ("x-real-ip", "203.0.113.5"),
    ("via", "1.1 google"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "localhost"),
    ("x-client-ip", "203.0.113.5"),
    ("x-cluster-client-ip", "203.0.113.5"),
    ("x-original-forwarded-for", "203.0.113.5"),
    ("true-client-ip", "203.0.113.5"),
    ("cf-connecting-ip", "203.0.113.5"),
    ("cf-ray", "1"),
    ("cdn-loop", "cloudflare"),
    ("fastly-client-ip", "203.0.113.5"),
    ("x-amz-cf-id", "1"),
    ("x-amzn-trace-id", "Root=1-1"),
    ("x-azure-clientip", "203.0.113.5"),
    ("x-envoy-external-address", "203.0.113.5"),
    ("fly-client-ip", "203.0.113.5"),
    ("ngrok-auth-user-id", "1"),
    ("tailscale-user-login", "a@example.com"),
    ("x-vercel-id", "1"),
    ("x-arr-log-id", "1"),
    ("do-connecting-ip", "203.0.113.5"),
    ("x-true-client-ip", "203.0.113.5"),
    ("z-forwarded-for", "203.0.113.5"),
    ("x-originating-ip", "203.0.113.5"),
    ("x-incap-client-ip", "203.0.113.5"),
    ("x-proxy-id", "1"),
    ("proxy-connection", "keep-alive"),
    ("surrogate-capability", 'key="ESI/1.0"'),
    ("x-amzn-apigateway-api-id", "1"),
    ("x-replit-user-id", "1"),
]


CLIENTS = {
    "openai": {
        "user-agent": "OpenAI/Python 2.1.0",
        "x-stainless-lang": "python",
        "x-stainless-os": "Linux",
        "x-stainless-retry-count": "0",
        "x-stainless-raw-response": "true",
        "openai-organization": "org-1",
        "idempotency-key": "stainless-python-retry-1",
    },
    "anthropic": {
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "x",
        "anthropic-dangerous-direct-browser-access": "true",
        "x-app": "cli",
        "x-claude-code-session-id": "1",
    },
    "gemini": {"x-goog-api-client": "genai-js/1", "x-goog-api-key": "none"},
    "azure": {"api-key": "none", "x-ms-client-request-id": "1", "x-ms-useragent": "azsdk"},
    "tracing": {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "a=1",
        "baggage": "a=1",
        "x-b3-traceid": "1",
        "b3": "0",
        "uber-trace-id": "1:1:0:1",
        "x-request-id": "1",
        "x-correlation-id": "1",
        "langsmith-trace": "1",
        "sentry-trace": "1",
        "x-datadog-trace-id": "1",
    },
    "openwebui": {"x-openwebui-user-name": "a", "x-openwebui-chat-id": "1", "http-referer": "x"},
    "openrouter": {"http-referer": "http://localhost", "x-title": "app"},
    "browser": {
        "sec-fetch-site": "same-origin",
        "sec-ch-ua": "x",
        "upgrade-insecure-requests": "1",
        "priority": "u=1, i",
        "dnt": "1",
        "sec-gpc": "1",
        "save-data": "on",
        "x-edge-shopping-flag": "0",
        "x-requested-with": "XMLHttpRequest",
        "cookie": "a=1",
        "referer": "http://localhost:3000/",
        "origin": "http://localhost:3000",
    },
    "codex": {"originator": "codex_cli_rs", "session_id": "1", "version": "0.1", "accept": "*/*"},
    "java": {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2-settings": "AAEA"},
}


@pytest.mark.parametrize("headers", CLIENTS.values(), ids=CLIENTS)
async def test_no_stock_client_is_taken_for_a_proxy(world, headers):
    """What SDKs, tracers, pages and tools add by themselves."""
    response = await ask(world, *headers.items(), path="/v1/models")

    assert response.status_code == 200
    assert world.state.proxies.seen == ""


@pytest.mark.parametrize("header", PROXY_HEADERS, ids=lambda header: header[0])
async def test_a_sign_of_a_proxy_ends_keyless_access(world, header):
    """On every route; the refusal says which header it was, and a key still works."""
    keyless = await ask(world, header)
    word = await ask(world, header, ("authorization", "Bearer none"), path="/v1/models")
    keyed = await ask(world, header, ("x-api-key", world.keys["acme"]))

    assert (keyless.status_code, word.status_code) == (401, 401)
    message = keyless.json()["error"]["message"]
    assert f"'{header[0]}'" in message
    assert "proxy" in message
    assert "Authorization: Bearer" in message
    assert keyed.json()["tenant"] == "acme"


async def test_the_operator_is_warned_once_of_a_proxy(world, caplog):
    """In the log and in the status: a proxy without such a header could not be told."""
    with caplog.at_level(logging.WARNING, "ray.serve"):
        for _ in range(3):
            await ask(world, ("via", "1.1 x"), path="/v1/models")
    status = (await ask(world, ("x-api-key", world.keys["root"]))).json()

    told = [record for record in caplog.records if "proxy" in record.message]
    assert len(told) == 1
    assert sum("'via'" in warning for warning in status["warnings"]) == 1
    assert "local_tenant" in told[0].message


async def test_without_a_local_tenant_a_proxy_is_nothing_to_warn_of(world, caplog):
    """Every caller has a key: there is nothing that it could open."""
    world.state.policies.auth._config.__dict__["local_tenant"] = None

    with caplog.at_level(logging.WARNING, "ray.serve"):
        await ask(world, ("via", "1.1 x"), ("x-api-key", world.keys["root"]))

    assert not caplog.records
    assert world.state.proxies.seen == ""


@pytest.mark.parametrize(
    ("headers", "host", "told"),
    [
        ([("origin", "https://evil.example")], "127.0.0.1", "Origin"),
        ([("origin", "null")], "127.0.0.1", "Origin"),
        ([("host", "evil.example")], "127.0.0.1", "Host"),
        ([("x-real-ip", "203.0.113.5")], "127.0.0.1", "'x-real-ip'"),
        ([], "203.0.113.5", "other machines"),
        ([("authorization", "Bearer none")], "203.0.113.5", "not valid"),
    ],
)
async def test_a_refusal_says_what_to_do(world, headers, host, told):
    """Why this caller needs a key, and how to send one."""
    message = (await ask(world, *headers, host=host)).json()["error"]["message"]

    assert told in message
    assert "Authorization: Bearer KEY" in message


async def test_a_socket_s_caller_is_identified_as_any_other(socket_world):
    """A key in any spelling, a key nobody has, two keys, a proxy."""
    acme = socket_world.keys["acme"]

    async def knock(*headers, offered=()) -> dict:
        from tests.unit.serve_app.socket_world import Client

        lines = [(name.encode(), value.encode()) for name, value in headers]
        app = socket_world.ingresses[0].gateway
        client = Client(app, headers=lines, subprotocols=list(offered))
        await client.ask()
        accepted = client.accepted
        if accepted["type"] == "websocket.accept":
            await client.leave()
        return accepted

    for taken in (
        await knock(("api-key", acme)),
        await knock(("authorization", f"Token {acme}")),
        await knock(offered=["pointsman.v1", f"pointsman.key.{acme}"]),
        await knock(("sec-websocket-protocol", f"pointsman.v1, pointsman.key.{acme}")),
    ):
        assert taken["type"] == "websocket.accept"
    for refused in (
        await knock(("x-auth-token", KEY)),
        await knock(offered=[f"pointsman.key.{KEY}"]),
        await knock(offered=[KEY]),
        await knock(("authorization", f"Bearer {acme}"), offered=[f"pointsman.key.{KEY}"]),
        await knock(("via", "1.1 x")),
        await knock(("origin", "https://evil.example")),
    ):
        assert (refused["type"], refused["status"]) == ("websocket.http.response.start", 401)
        assert b"www-authenticate" in dict(refused["headers"])


def test_a_caller_s_last_word_on_whom_it_acts_for_counts():
    """A gateway appends its own line to whatever its client sent."""
    scope = {"path": "/", "headers": [(b"x-tenant-id", b"a"), (b"x-tenant-id", b"b")]}

    assert caller_of({**scope, "client": ("127.0.0.1", 1)}).acts_for == "b"


def test_a_blank_name_of_a_tenant_is_none():
    """A template with nothing to fill in."""
    scope = {"path": "/", "headers": [(b"x-tenant-id", b"  ")], "client": ("127.0.0.1", 1)}

    assert caller_of(scope).acts_for is None


async def test_http_1_0_is_what_nginx_speaks_when_it_is_told_nothing(world, call_raw):
    """Its default Host names this machine and it adds no header: the version gives it away."""
    scope = {"method": "GET", "path": "/v1/models", "http_version": "1.0"}
    host = (b"host", b"127.0.0.1:8000")

    keyless = await call_raw(world.gateway, [], **scope, headers=[host, (b"connection", b"close")])
    key = (b"x-api-key", world.keys["acme"].encode())
    keyed = await call_raw(world.gateway, [], **scope, headers=[host, key])

    assert (keyless[0]["status"], keyed[0]["status"]) == (401, 200)
    assert b"HTTP/1.0" in keyless[1]["body"]
