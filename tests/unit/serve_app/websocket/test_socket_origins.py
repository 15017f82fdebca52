"""Which pages may open a socket: browsers ask nobody before they do."""

from __future__ import annotations

import json

import pytest

from serve_app.config.fleet import CorsConfig
from serve_app.tenancy.callers import bar_pages, caller_of
from tests.unit.serve_app.socket_world import Client

pytestmark = pytest.mark.security

HOST = ("host", "localhost:8000")


async def knock(world, *headers, offered=()):
    """Asks for a socket; the client, and what the server answered."""
    lines = [(name.encode(), value.encode()) for name, value in headers]
    client = Client(world.ingresses[0].gateway, headers=lines, subprotocols=list(offered))
    world.clients.append(client)
    await client.ask()
    return client


async def status_of(world, *headers, offered=()) -> int:
    """101, or what the upgrade was refused with."""
    accepted = (await knock(world, *headers, offered=offered)).accepted
    return 101 if accepted["type"] == "websocket.accept" else accepted["status"]


def allow(world, *origins: str) -> None:
    """Put origins into force, as a reload would."""
    state = world.ingresses[0].state
    object.__setattr__(
        state.policies.fleet, "cors", CorsConfig.model_validate({"allow_origins": list(origins)})
    )


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("LOCALHOST:8000", "http://localhost:8000"),
        ("localhost:8000", "HTTP://LocalHost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("localhost", "http://localhost"),
        ("localhost:8443", "https://localhost:8443"),
    ],
)
async def test_the_server_s_own_page_opens_one_without_a_key(socket_world, host, origin):
    """Scheme, name and port are where the socket goes."""
    assert await status_of(socket_world, ("host", host), ("origin", origin)) == 101


async def test_what_is_no_browser_opens_one_without_a_key(socket_world):
    """It sends no Origin."""
    assert await status_of(socket_world, HOST) == 101


FOREIGN = [
    "http://localhost:9999",
    "http://localhost",
    "http://localhost:80",
    "http://localhost:80001",
    "http://127.0.0.1:8000",
    "http://[::1]:8000",
    "http://app.localhost:8000",
    "ws://localhost:8000",
    "chrome-extension://localhost:8000",
    "http://localhost:8000/",
    "http://user@localhost:8000",
    "http://evil.example",
    "http://localhost:8000.evil.example",
    "null",
    "",
    "*",
]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_any_other_page_needs_a_key(socket_world, origin):
    """Also one of this machine: who serves its other ports is not known."""
    refused = (await knock(socket_world, HOST, ("origin", origin))).accepted

    assert (refused["type"], refused["status"]) == ("websocket.http.response.start", 401)
    assert b"www-authenticate" in dict(refused["headers"])


@pytest.mark.parametrize("word", ["none", "sk-1234", "EMPTY"])
async def test_a_word_is_no_key(socket_world, word):
    """SDKs send one; it opens what no key opens."""
    page = ("origin", "http://localhost:9999")

    assert await status_of(socket_world, HOST, page, ("authorization", f"Bearer {word}")) == 401
    assert await status_of(socket_world, HOST, page, offered=[f"pointsman.key.{word}"]) == 401


async def test_the_refusal_says_what_to_do(socket_world):
    """As JSON, as every refusal."""
    client = await knock(socket_world, HOST, ("origin", "http://localhost:9999"))
    error = json.loads((await client.message())["body"])["error"]

    assert error["code"] == "invalid_api_key"
    assert "cors.allow_origins" in error["message"]
    assert "Authorization: Bearer KEY" in error["message"]


@pytest.mark.parametrize("origin", FOREIGN)
async def test_with_a_key_any_page_opens_one(socket_world, origin):
    """No browser sends it by itself."""
    offered = ["pointsman.v1", f"pointsman.key.{socket_world.keys['acme']}"]

    assert await status_of(socket_world, HOST, ("origin", origin), offered=offered) == 101


async def test_two_origins_are_both_looked_at(socket_world):
    """One that is right covers no other."""
    own, other = ("origin", "http://localhost:8000"), ("origin", "http://localhost:9999")

    assert await status_of(socket_world, HOST, own, other) == 401
    assert await status_of(socket_world, HOST, other, own) == 401


async def test_a_named_page_of_this_machine_opens_one(socket_world):
    """Until it is named no more; then its open socket begins no chat."""
    page = ("origin", "http://LOCALHOST:9999")
    allow(socket_world, "http://localhost:9999")
    client = await knock(socket_world, HOST, page)
    client.chat("a")
    assert (await client.until_end("a"))[-1]["type"] == "done"

    allow(socket_world)
    client.chat("b")
    ended = (await client.until_end("b"))[-1]

    assert (ended["type"], ended["error"]["code"]) == ("error", "invalid_api_key")
    assert await status_of(socket_world, HOST, page) == 401


@pytest.mark.parametrize(
    ("allowed", "origin"),
    [
        ("*", "http://localhost:9999"),
        ("*", "null"),
        ("http://localhost:9999", "http://localhost:9998"),
        ("https://ui.example.com", "https://ui.example.com"),
    ],
)
async def test_naming_opens_no_more_than_it_says(socket_world, allowed, origin):
    """Every page is nobody in particular, and one from elsewhere needs a key as over HTTP."""
    allow(socket_world, allowed)

    assert await status_of(socket_world, HOST, ("origin", origin)) == 401


def test_a_caller_who_needs_a_key_anyway_is_told_the_first_reason():
    """A proxy, another machine, a rebound name."""
    headers = [(b"host", b"evil.example"), (b"origin", b"http://evil.example")]
    caller = caller_of({"path": "/", "headers": headers, "client": ("127.0.0.1", 1)})

    assert caller.page == ""
    assert bar_pages(caller) is caller
    assert "Host" in caller.stranger
