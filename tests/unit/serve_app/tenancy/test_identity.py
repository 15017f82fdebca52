"""A key is an identity or a refusal, and a proxy ends keyless access."""

from __future__ import annotations

import base64
import logging
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import Rejected
from serve_app.tenancy.auth import make_key
from serve_app.tenancy.callers import caller_of
from serve_app.tenancy.credentials import presented_key

pytestmark = pytest.mark.security

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
KEY = make_key()[0]
"""One of our form; no tenant has it."""
NAMED = f"pm-acme1-{KEY.split('-', 2)[2]}"
"""The same with an id that someone has chosen by hand."""


async def ask(world, *headers, path="/status", host="127.0.0.1", **kwargs):
    """GET with these header lines, as one at this machine unless told."""
    transport = httpx.ASGITransport(world.gateway, client=(host, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get(path, headers=list(headers), **kwargs)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def in_base64(text: str, encode=base64.b64encode) -> str:
    return encode(text.encode()).decode()


SPELLINGS = {
    "bearer": ("authorization", "Bearer {}"),
    "lower case": ("authorization", "bearer {}"),
    "upper case": ("authorization", "BEARER   {}  "),
    "tab": ("authorization", "Bearer\t{}"),
    "bare": ("authorization", "{}"),
    "token": ("authorization", "Token {}"),
    "token=": ("authorization", 'Token token="{}"'),
    "unknown scheme": ("authorization", "Pointsman {}"),
    "doubled": ("authorization", "Bearer Bearer {}"),
    "colon": ("authorization", "Bearer: {}"),
    "quoted": ("authorization", 'Bearer "{}"'),
    "single quotes": ("authorization", "Bearer '{}'"),
    "brackets": ("authorization", "Bearer <{}>"),
    "anthropic": ("x-api-key", "{}"),
    "azure": ("api-key", "{}"),
    "gemini": ("x-goog-api-key", "{}"),
    "bearer in x-api-key": ("x-api-key", "Bearer {}"),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("host", ["127.0.0.1", "203.0.113.9"])
async def test_a_key_is_its_tenant_however_a_client_spells_it(world, spelling, host):
    """On loopback too, where no key would be the local admin."""
    name, form = spelling

    response = await ask(world, (name, form.format(world.keys["acme"])), host=host)

    assert (response.status_code, response.json()["tenant"]) == (200, "acme")


@pytest.mark.parametrize(
    "write",
    [
        lambda key: f"Basic {in_base64(f'a?>~:{key}', base64.urlsafe_b64encode)}",
        lambda key: f"Basic {in_base64(f'me:{key}')}".rstrip("="),
        lambda key: f'Basic "{in_base64(f"me:{key}")}"',
        lambda key: f"Basic {in_base64(f'me:{key}')},",
        lambda key: f"Basic: {in_base64(f'me:{key}')}",
        lambda key: f"Basic={in_base64(f'me:{key}')}",
        lambda key: f"Basic{in_base64(f'me:{key}')}",
        lambda key: f"Basic {in_base64(f'me:{key}').replace('=', '%3D')}",
        lambda key: f"Basic {in_base64('me:' + key.replace('-', '%2D'))}",
        lambda key: f"Bearer {in_base64(key)}",
        lambda key: f"Basic {base64.b64encode(f'me:{key}'.encode('utf-16')).decode()}",
    ],
)
async def test_a_key_in_any_form_of_base64_is_its_tenant(world, write):
    """URL-safe, without its padding, quoted, without a space before it, from PowerShell."""
    response = await ask(world, ("authorization", write(world.keys["acme"])))

    assert (response.status_code, response.json().get("tenant")) == (200, "acme")


@pytest.mark.parametrize("form", ["{}:", ":{}", "user:{}", "{}:x"])
async def test_basic_auth_with_a_key_in_it_is_its_tenant(world, form):
    """As the user's name or the password."""
    header = "authorization", basic(form.format(world.keys["acme"]))

    assert (await ask(world, header)).json()["tenant"] == "acme"


@pytest.mark.parametrize(
    "damage",
    [
        lambda key: key.replace("pm-", "PM-", 1),
        lambda key: key.replace("-", "%2D"),
        lambda key: "%70%6d" + key[2:],
        lambda key: "%2570m" + key[2:],
        lambda key: key.replace("-", "\u2013", 1),
        lambda key: key.replace("-", "\u2011", 1),
        lambda key: "\u200b" + key + "\ufeff",
        lambda key: key[:9] + "\u200d" + key[9:],
        lambda key: "\uff50\uff4d" + key[2:],
        lambda key: f"\u201c{key}\u201d",
    ],
)
async def test_a_key_with_what_editors_do_to_it_is_its_tenant(world, damage):
    """Percent-encoding, typographic dashes and quotes, marks that nobody sees."""
    value = f"Bearer {damage(world.keys['acme'])}".encode()

    response = await ask(world, (b"authorization", value))

    assert (response.status_code, response.json().get("tenant")) == (200, "acme")


@pytest.mark.parametrize(
    "lines",
    [
        [("authorization", f"Bearer {KEY}")],
        [("authorization", f"Bearer {KEY.upper()}")],
        [("authorization", "Bearer pm-")],
        [("authorization", f"Bearer{KEY}")],
        [("authorization", f"Bearer {KEY[:20]}")],
        [("authorization", f"Bearer {KEY[1:]}")],
        [("authorization", f"Bearer {KEY[3:]}")],
        [("authorization", f"Bearer {KEY.replace('-', '_')}")],
        [("authorization", f"Bearer {KEY.replace('-', '', 2)}")],
        [("authorization", f"Bearer {KEY.replace('-', '&#45;')}")],
        [("authorization", f"Bearer {KEY.replace('-', '%u002D')}")],
        [("authorization", f"Bearer {NAMED}")],
        [("authorization", f"Bearer{NAMED}")],
        [("authorization", f"Bearer sk-{NAMED}")],
        [("authorization", f"Bearer {NAMED.replace('-', '_', 2)}")],
        [("authorization", f"Bearer {NAMED.replace('-', ' ', 2)}")],
        [("authorization", basic(f"me:{NAMED}"))],
        [("x-custom", NAMED)],
        [("cookie", f"a=1; key={NAMED}")],
        [("authorization", basic(f"me:{KEY}"))],
        [("authorization", "Bearer none"), ("x-api-key", KEY)],
        [("cookie", f"session=1; key={KEY}")],
        [("x-auth-token", KEY)],
        [("proxy-authorization", f"Bearer {KEY}")],
        [("proxy-authorization", basic(f"me:{KEY}"))],
        [("x-custom", f"my key is '{KEY}'")],
        [("x-custom", KEY.replace("-", "%2d"))],
        [("referer", f"http://localhost/?api_key={KEY}")],
        [("user-agent", f"tool/{KEY}")],
        [("x-custom", f"x{KEY}")],
    ],
)
async def test_what_looks_like_a_key_never_becomes_the_local_admin(world, lines):
    """Wrong, cut, glued, or in a place where no key is read: 401, on this machine too."""
    response = await ask(world, *lines)

    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert KEY.split("-", 2)[2] not in response.text


@pytest.mark.parametrize("name", ["api_key", "key", "token", "access_token", "x"])
@pytest.mark.parametrize("encode", [str, lambda key: key.replace("-", "%2D")])
async def test_a_key_in_the_url_is_refused(world, name, encode):
    """URLs are in everybody's logs; and it is not for nothing that it was sent."""
    response = await ask(world, path=f"/v1/models?{name}={encode(world.keys['acme'])}")

    assert response.status_code == 401
    assert "Authorization: Bearer" in response.json()["error"]["message"]


async def test_two_keys_that_disagree_are_refused(world):
    """In two headers, or in two lines of one; the same key twice is no contradiction."""
    acme, guest = world.keys["acme"], world.keys["guest"]

    apart = await ask(world, ("authorization", f"Bearer {acme}"), ("x-api-key", guest))
    lines = await ask(world, ("x-api-key", acme), ("x-api-key", guest))
    cookie = await ask(world, ("x-api-key", acme), ("cookie", f"key={guest}"))
    same = await ask(world, ("authorization", f"Bearer {acme}"), ("api-key", acme))

    assert [x.status_code for x in (apart, lines, cookie)] == [401] * 3
    assert "two different" in apart.json()["error"]["message"]
    assert same.json()["tenant"] == "acme"


@pytest.mark.parametrize(
    "header",
    [
        ("authorization", "Bearer none"),
        ("authorization", "Bearer EMPTY"),
        ("authorization", "Bearer sk-proj-0123456789abcdef"),
        ("authorization", "Bearer"),
        ("authorization", ""),
        ("authorization", basic("user:password")),
        ("authorization", f"Bearer sk-proj-{'Ab3_-pM9' * 19}"),
        ("cookie", f"id={'Ab3_-pM9' * 40}; theme=npm-dark-mode-preference-of-this-user-0123456789"),
        ("authorization", "Bearer npm-token"),
        ("x-api-key", "sk-ant-api03-xyz"),
        ("api-key", "lm-studio"),
        ("x-api-key", ""),
        ("user-agent", "npm/10.2.0 spam-filter/1"),
        ("cookie", "theme=pm-dark"),
        ("x-request-id", "pm-0123456789ab"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ],
)
async def test_any_other_word_is_good_enough_on_this_machine(world, header):
    """SDKs insist on some key; only the local admin sees the fleet's name."""
    response = await ask(world, header)

    assert (response.status_code, response.json().get("tenant")) == (200, "local")


@given(
    before=st.text("abc \"'=:,;", max_size=6),
    after=st.text(" \"'=:,;.", max_size=6),
    header=st.sampled_from([b"authorization", b"x-api-key", b"cookie", b"x-other", b"accept"]),
    scheme=st.sampled_from(["", "Bearer ", "Token ", "Negotiate ", "pm-"]),
)
def test_no_text_around_a_key_hides_it(before, after, header, scheme):
    """Whatever stands around it, a key is found or refused: never overlooked."""
    value = f"{scheme}{before}{KEY}{after}".encode()

    found = presented_key([(header, value)])

    assert isinstance(found, Rejected) or (found or "").startswith("pm-")


@pytest.mark.parametrize(
    "value",
    [
        b"Basic " + b"pM9_aZ-0" * 2_000,
        b"pM9_aZ-01234567890abcdefghijklmnopqrstuvw " * 380,
        b"0123456789ab" * 1_300,
        b"pm" * 8_000,
        b"pm-" * 5_300,
        b"tokenpm_aaaa_" * 1_200,
        b"%25" * 5_300,
        "\ufdfa".encode() * 5_300,
    ],
)
@pytest.mark.parametrize("name", [b"authorization", b"cookie"])
def test_no_header_takes_long_to_look_through(name, value):
    """Anybody may send 16 KB, and the event loop reads them: a tenth of what these once took."""
    taken = []
    for _ in range(3):
        begun = time.thread_time()
        presented_key([(name, value)])
        taken.append(time.thread_time() - begun)

    assert min(taken) < 0.02


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
