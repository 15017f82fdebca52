"""Pages in browsers: which may call and read, and what their preflights are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from serve_app.config.fleet import CorsConfig, FleetConfig
from serve_app.front.cors import EXPOSED
from serve_app.request import response_headers
from serve_app.responses import delivery
from serve_app.routing.policies import build_policies
from tests.unit.serve_app.conftest import FLEET, FakeScorer
from tests.unit.serve_app.front.test_gateway import CHAT, HELLO, REMOTE

pytestmark = pytest.mark.security

LOCAL_PAGE = "http://localhost:5173"
ELSEWHERE = "https://ui.example.com"
OPENAI_SDK = (
    "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,"
    "x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,"
    "x-stainless-runtime-version,x-stainless-timeout,openai-organization,openai-project"
)
ANTHROPIC_SDK = (
    "anthropic-dangerous-direct-browser-access,anthropic-version,anthropic-beta,"
    "content-type,x-api-key,x-session-id"
)


def allow(world, *origins: str) -> None:
    """Put origins into force, as a reload would."""
    fleet = FleetConfig.model_validate({**FLEET, "cors": {"allow_origins": list(origins)}})
    world.state.apply(build_policies(fleet, world.tenants, FakeScorer(), lambda _: 0.5))


async def ask(world, origin, method="GET", path="/v1/models", host="127.0.0.1", **kwargs):
    headers = {"origin": origin, **kwargs.pop("headers", {})}
    async with world.client(host) as client:
        return await client.request(method, path, headers=headers, **kwargs)


async def preflight(world, origin, asked="POST", path=CHAT, **headers):
    headers = {k.replace("_", "-"): v for k, v in headers.items()}
    told = {"access-control-request-method": asked, **headers}
    return await ask(world, origin, "OPTIONS", path, headers=told)


@pytest.mark.parametrize(
    "origin",
    [
        LOCAL_PAGE,
        "http://127.0.0.1:3000",
        "http://[::1]:8080",
        "https://localhost",
        "http://app.localhost:4000",
    ],
)
async def test_a_page_of_this_machine_reads_what_it_asks_for(world, origin):
    """Without a key and without a setting, while nothing listens beyond loopback."""
    response = await ask(world, origin)

    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == origin
    assert "origin" in response.headers["vary"]
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.parametrize("headers", [OPENAI_SDK, ANTHROPIC_SDK])
async def test_a_preflight_is_told_what_the_sdks_ask_for(world, headers):
    """204: methods, every header that was asked for, how long it holds."""
    response = await preflight(world, LOCAL_PAGE, access_control_request_headers=headers)

    assert response.status_code == 204
    told = response.headers
    assert told["access-control-allow-origin"] == LOCAL_PAGE
    assert "POST" in told["access-control-allow-methods"]
    assert told["access-control-allow-headers"].split(", ") == headers.split(",")
    assert told["access-control-max-age"] == "3600"
    assert "access-control-allow-private-network" not in told


async def test_only_names_of_headers_are_echoed(world):
    """Neither what is no name, nor without an end."""
    asked = "good, b\u00e4d, a b, " + "x" * 65 + ", " + ", ".join(f"x-{i}" for i in range(90))

    response = await preflight(
        world, LOCAL_PAGE, access_control_request_headers=asked.encode("latin-1")
    )

    names = response.headers["access-control-allow-headers"].split(", ")
    assert names[:2] == ["good", "x-0"]
    assert len(names) == 61


async def test_a_private_network_s_preflight_is_answered(world):
    """A browser asks before a public page may call a private address."""
    response = await preflight(world, LOCAL_PAGE, access_control_request_private_network="true")

    assert response.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize(
    "origin",
    [
        ELSEWHERE,
        "null",
        "x",
        "http://localhost.evil.example",
        "http://127.0.0.1.nip.io",
        "http://[::1].evil.example",
        "http://evil.example@localhost",
        "http://localhost@evil.example",
        "http://localhost:3000, http://evil.example",
        "http://localhost/",
        "http://localhost#.evil.example",
        "http://localhost\\.evil.example",
        "//localhost",
        "file://",
    ],
)
async def test_a_page_from_elsewhere_may_not_read_unless_named(world, origin):
    """No header of the protocol in its answer, and none in its preflight's."""
    answer = await ask(world, origin)
    asked = await preflight(world, origin)

    assert answer.status_code == 401
    assert asked.status_code == 204
    for response in (answer, asked):
        assert not [x for x in response.headers if x.startswith("access-control-")]
        assert "origin" in response.headers["vary"]


async def test_a_named_page_reads_answers_refusals_and_all(world, engine):
    """It needs a key all the same, and is told so in words that it can read."""
    allow(world, ELSEWHERE)
    world.lanes.answers = [engine()]
    key = {"authorization": f"Bearer {world.keys['acme']}"}

    refused = await ask(world, ELSEWHERE)
    asked = await preflight(world, ELSEWHERE, access_control_request_headers="authorization")
    good = await ask(world, ELSEWHERE, "POST", CHAT, json=HELLO, headers=key)
    bad = await ask(world, ELSEWHERE, "POST", CHAT, json={}, headers=key)
    lost = await ask(world, ELSEWHERE, "GET", "/v1/nothing", headers=key)
    other = await ask(world, "https://ui.example.org", headers=key)

    assert [x.status_code for x in (refused, asked, good, bad, lost)] == [401, 204, 200, 400, 404]
    for response in (refused, asked, good, bad, lost):
        assert response.headers["access-control-allow-origin"] == ELSEWHERE
        assert "origin" in response.headers["vary"]
    assert "Origin" in refused.json()["error"]["message"]
    assert other.status_code == 200
    assert "access-control-allow-origin" not in other.headers


async def test_a_star_allows_every_page_and_no_credentials(world):
    """Keys are in headers: no cookie of ours is worth stealing."""
    allow(world, "*")

    response = await ask(world, ELSEWHERE)

    assert response.status_code == 401
    assert response.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in response.headers


async def test_beyond_loopback_no_page_may_read_unless_named(world):
    """Not one of this machine either: it could be anybody's machine."""
    world.use(world.lanes, trusts_local=False)
    key = {"x-api-key": world.keys["acme"]}

    off = await ask(world, LOCAL_PAGE, host=REMOTE, headers=key)
    allow(world, LOCAL_PAGE)
    on = await ask(world, LOCAL_PAGE, host=REMOTE, headers=key)

    assert "access-control-allow-origin" not in off.headers
    assert on.headers["access-control-allow-origin"] == LOCAL_PAGE


async def test_a_stream_can_be_read_with_its_headers(world, stream):
    """What we tell in headers is exposed to the page's script."""
    event = b'data: {"object":"chat.completion.chunk","choices":[{"delta":{"content":"a"}}]}\n\n'
    world.lanes.answers = [stream(event, b"data: [DONE]\n\n")]
    headers = {"x-pointsman-debug": "1"}

    response = await ask(
        world, LOCAL_PAGE, "POST", CHAT, json={**HELLO, "stream": True}, headers=headers
    )

    assert response.headers["access-control-allow-origin"] == LOCAL_PAGE
    exposed = response.headers["access-control-expose-headers"].split(", ")
    ours = {name for name in response.headers if name.startswith(("x-", "server-"))}
    assert ours - {"x-accel-buffering"} <= set(exposed)


def test_what_every_answer_can_carry_is_exposed():
    """All names that we put into answers, whoever reads them."""
    exposed = EXPOSED.decode().split(", ")

    assert {"x-request-id", "request-id", "retry-after", "x-should-retry"} <= set(exposed)
    assert exposed == sorted(exposed)


@pytest.mark.parametrize("module", [response_headers, delivery])
def test_no_header_of_ours_is_hidden_from_a_page(module):
    """As the source of what writes them names them."""
    named = set(re.findall(r'b"(x-[a-z-]+[a-z])"', Path(module.__file__).read_text()))

    assert named
    assert named - {"x-accel-buffering"} <= set(EXPOSED.decode().split(", "))


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "https://ui.example.com",
        "http://10.0.0.5:3000",
        "http://[fd00::1]:8080",
        "HTTPS://UI.example.com",
        "chrome-extension://abcdefghijklmnop",
        "tauri://localhost",
    ],
)
def test_an_origin_may_be_named(origin):
    """Schemes of installed apps too; case does not count."""
    assert CorsConfig(allow_origins=[origin]).allow_origins == [origin.lower()]


@pytest.mark.parametrize(
    ("origin", "kept"),
    [
        ("https://ui.example.com:443", "https://ui.example.com"),
        ("http://[fd00::1]:80", "http://[fd00::1]"),
        ("http://ui.example.com:443", "http://ui.example.com:443"),
        ("https://ui.example.com:8443", "https://ui.example.com:8443"),
        ("http://[fd00::80]", "http://[fd00::80]"),
    ],
)
def test_a_scheme_s_own_port_is_left_out_as_browsers_do(origin, kept):
    """With it the name would never match."""
    assert CorsConfig(allow_origins=[origin]).allow_origins == [kept]


@pytest.mark.parametrize(
    "origin",
    ["ui.example.com", "https://ui.example.com/", "https://*.example.com", "null", "", "https://"],
)
def test_what_is_no_origin_is_refused_with_a_reason(origin):
    """A path, a pattern or a bare name would never match."""
    with pytest.raises(ValidationError, match="scheme://host"):
        CorsConfig(allow_origins=[origin])
