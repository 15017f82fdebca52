"""What RFC 9110 and the stock clients expect of an HTTP server, route by route."""

from __future__ import annotations

import pytest
from ray.serve._private.http_util import _apply_middlewares

from serve_app.front.doorway import middlewares
from tests.unit.serve_app.front.test_gateway import CHAT, GENERATION, HELLO, REMOTE, error_of

READ = ["/", "/health", "/ready", "/v1/models", "/v1/models/auto", "/status", "/metrics"]
READ += ["/openapi.json"]


async def request(world, method, path, **kwargs):
    async with world.client() as client:
        return await client.request(method, path, **kwargs)


# -- methods ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", READ)
async def test_head_is_get_without_the_body(world, path):
    """The same status and headers, the body's length among them."""
    get = await request(world, "GET", path)
    head = await request(world, "HEAD", path)

    assert get.status_code == head.status_code == 200
    assert head.content == b""
    assert head.headers.keys() == get.headers.keys()
    assert head.headers["content-type"] == get.headers["content-type"]
    if path not in ("/status", "/metrics"):
        assert head.headers["content-length"] == str(len(get.content))


async def test_head_is_refused_as_get_is(world):
    """A key is needed for both, and neither says anything of the body."""
    async with world.client(REMOTE) as client:
        response = await client.head("/v1/models")

    assert (response.status_code, response.content) == (401, b"")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "POST"])
@pytest.mark.parametrize("path", READ)
async def test_a_reading_route_says_which_methods_it_takes(world, method, path):
    """405 has `Allow`."""
    response = await request(world, method, path)

    assert response.status_code == 405
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"
    assert error_of(response)["code"] == "invalid_request"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("path", [*GENERATION, "/v1/route", "/v1/feedback", "/admin/reload"])
async def test_a_writing_route_says_which_methods_it_takes(world, method, path):
    """HEAD too: there is nothing to GET."""
    response = await request(world, method, path)

    assert response.status_code == 405
    assert response.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize(
    ("path", "allow"), [("/v1/models", "GET, HEAD, OPTIONS"), (CHAT, "POST, OPTIONS")]
)
async def test_options_tells_the_methods(world, path, allow):
    """204, to anyone: it says nothing that /openapi.json does not."""
    async with world.client(REMOTE) as client:
        response = await client.options(path)

    assert (response.status_code, response.headers["allow"]) == (204, allow)
    assert "content-length" not in response.headers


@pytest.mark.security
@pytest.mark.parametrize("method", ["PROPFIND", "BREW"])
async def test_a_method_that_is_not_known_is_501(world, method):
    """The server does not know it, whatever the route (RFC 9110, 15.6.2)."""
    assert (await request(world, method, CHAT)).status_code == 501


# -- the request's head -----------------------------------------------------------------


@pytest.mark.security
@pytest.mark.parametrize(
    ("version", "hosts", "status"),
    [
        ("1.1", [b"localhost"], 200),
        ("1.1", [], 400),
        ("1.1", [b"localhost", b"localhost"], 400),
        ("1.0", [], 200),
    ],
)
async def test_a_request_has_one_host(world, call_raw, version, hosts, status):
    """RFC 9112, 3.2; HTTP/1.0 had none."""
    headers = [(b"host", host) for host in hosts]
    scope = {"method": "GET", "path": "/health", "headers": headers, "http_version": version}

    sent = await call_raw(world.gateway, [], **scope)

    assert sent[0]["status"] == status


@pytest.mark.security
@pytest.mark.parametrize(
    ("value", "status"), [("100-continue", 200), ("100-Continue", 200), ("x", 417)]
)
async def test_only_100_continue_can_be_expected(world, value, status):
    """RFC 9110, 10.1.1."""
    response = await request(world, "GET", "/health", headers={"expect": value})

    assert response.status_code == status


@pytest.mark.security
@pytest.mark.parametrize(
    "headers",
    [
        {"x-big": "x" * 20_000},
        {"cookie": "a=1; " * 4_000},
        {f"x-{i}": "x" * 100 for i in range(200)},
    ],
    ids=["one", "cookies", "many"],
)
async def test_headers_out_of_bounds_are_431_in_json(world, headers):
    """In the route's dialect; 15 KB pass."""
    refused = await request(world, "POST", "/v1/messages", headers=headers)
    passed = await request(world, "GET", "/health", headers={"x-big": "x" * 15_000})

    assert (refused.status_code, refused.json()["type"]) == (431, "error")
    assert "16384 bytes" in error_of(refused)["message"]
    assert passed.status_code == 200


@pytest.mark.security
async def test_a_url_out_of_bounds_is_414_in_json(world):
    """Path and query together."""
    long = await request(world, "GET", f"/v1/models?x={'y' * 60_000}")
    path = await request(world, "GET", "/v1/models/" + "y" * 9_000)
    fits = await request(world, "GET", f"/v1/models?x={'y' * 8_000}")

    assert (long.status_code, path.status_code, fits.status_code) == (414, 414, 200)
    assert error_of(long)["code"] == "invalid_request"


@pytest.mark.parametrize(
    "headers",
    [
        {"range": "bytes=0-1"},
        {"if-none-match": "*"},
        {"if-modified-since": "Sat, 29 Oct 2033 19:43:31 GMT"},
        {"accept": "image/png"},
        {"max-forwards": "0"},
        {"pragma": "no-cache"},
        {"accept-encoding": "identity;q=0"},
    ],
)
async def test_what_a_server_may_ignore_is_ignored(world, headers):
    """Conditions, ranges and preferences do not apply to what is made at each request."""
    plain = await request(world, "GET", "/v1/models")
    asked = await request(world, "GET", "/v1/models", headers=headers)

    assert (asked.status_code, asked.content) == (200, plain.content)


async def test_a_401_says_how_to_authenticate(world):
    """`www-authenticate` (RFC 9110, 15.5.2), on every route and dialect."""
    async with world.client(REMOTE) as client:
        for path in (CHAT, "/v1/messages", "/v1/responses"):
            response = await client.post(path, json=HELLO)

            assert response.status_code == 401
            assert response.headers["www-authenticate"] == 'Bearer realm="pointsman"'


# -- the front page ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("*/*", "text/plain; charset=utf-8"),
        (None, "text/plain; charset=utf-8"),
    ],
)
async def test_the_base_url_says_what_this_is(world, accept, kind):
    """Without a key, in the form that the caller reads, with every place to look."""
    async with world.client(REMOTE) as client:
        client.headers.pop("accept")
        response = await client.get("/", headers={"accept": accept} if accept else {})

    assert (response.status_code, response.headers["content-type"]) == (200, kind)
    assert "accept" in response.headers.get_list("vary")
    assert "Pointsman" in response.text
    for place in ("/v1/models", "/openapi.json", "/status"):
        assert place in response.text


async def test_every_place_that_the_front_page_names_is_there(world):
    """A page of dead links would help nobody."""
    routes = (await request(world, "GET", "/", headers={"accept": "application/json"})).json()

    for path in routes["routes"]:
        assert (await request(world, "GET", path)).status_code == 200


# -- ids --------------------------------------------------------------------------------


@pytest.mark.security
@pytest.mark.parametrize(
    ("lines", "kept"),
    [
        ([b"r" * 200], True),
        ([b"a b/c"], True),
        ([b"r" * 257], False),
        ([b""], False),
        ([b"\xe9t\xe9"], False),
        ([b"\xc3\xa9t\xc3\xa9"], False),
        ([b"a\tb"], False),
        ([], False),
        ([b"first", b"last"], True),
    ],
)
async def test_a_request_has_one_id_told_and_used(world, engine, call_raw, lines, kept):
    """Serve tells it, the engine and the log get it: the given one if it is usable."""
    world.lanes.answers = [engine()]
    app = _apply_middlewares(world.gateway, middlewares())
    body = {"type": "http.request", "body": b'{"messages":[{"role":"user","content":"x"}]}'}
    headers = [(b"host", b"localhost"), *((b"x-request-id", line) for line in lines)]

    sent = await call_raw(app, [body], path=CHAT, headers=headers)

    told = [value for name, value in sent[0]["headers"] if name.lower() == b"x-request-id"]
    assert told == [world.lanes.opened[0].headers["x-request-id"].encode()]
    assert (told == lines[-1:]) is kept


# -- Anthropic's clients ----------------------------------------------------------------
