"""What RFC 9110 and the stock clients expect of an HTTP server, route by route."""

from __future__ import annotations

import anthropic
import httpx
import httpx2
import openai
import pytest
from ray.serve._private.http_util import _apply_middlewares

from serve_app.front.doorway import middlewares
from tests.unit.serve_app.front.test_gateway import CHAT, GENERATION, HELLO, REMOTE, error_of

READ = ["/", "/health", "/ready", "/v1/models", "/v1/models/auto", "/status", "/metrics"]
READ += ["/openapi.json"]
MESSAGES = {**HELLO, "max_tokens": 5}


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


async def test_headers_that_serve_cannot_decode_do_not_fail(world, call_raw):
    """It reads some as UTF-8; a client that sends Latin-1 would get a bare 500."""
    seen = []

    async def app(scope, receive, send):
        seen.extend(scope["headers"])

    door = _apply_middlewares(app, middlewares())
    await call_raw(door, [], path="/", headers=[(b"x-session-id", b"\xe9t\xe9")])

    assert (b"x-session-id", "\u00e9t\u00e9".encode()) in seen
    assert all(value.decode() for _, value in seen)


@pytest.mark.parametrize(
    "lines",
    [
        [("x-session-id", "")],
        [("x-session-id", "  ")],
        [("x_session_id", "")],
        [("x-session-id", ""), ("x_session_id", " "), ("x-claude-code-session-id", "")],
    ],
)
async def test_a_blank_session_id_is_as_if_absent(world, engine, lines):
    """Derived from the conversation, as without the header."""
    world.lanes.answers = [engine()]

    response = await request(world, "POST", CHAT, json=HELLO, headers=lines)

    assert response.status_code == 200
    assert response.headers["x-session-id"].startswith("derived-")


@pytest.mark.parametrize(
    "lines",
    [
        [("x-session-id", ""), ("x_session_id", "good")],
        [("x-session-id", " "), ("x-claude-code-session-id", "good")],
        [("x-session-id", "good"), ("x-session-id", "")],
        [("x-session-id", ""), ("x-session-id", "good")],
    ],
)
async def test_a_blank_session_id_does_not_hide_a_good_one(world, engine, lines):
    """In another header, or in another line of the same."""
    world.lanes.answers = [engine()]

    response = await request(world, "POST", CHAT, json=HELLO, headers=lines)

    assert response.headers["x-session-id"] == "good"


# -- Anthropic's clients ----------------------------------------------------------------


async def test_answers_in_anthropic_s_form_carry_its_request_id(world, engine):
    """`request-id` is what its SDK reads, on answers and errors; errors say it in the body."""
    world.lanes.answers = [engine()]
    headers = {"x-request-id": "mine"}

    good = await request(world, "POST", "/v1/messages", json=MESSAGES, headers=headers)
    bad = await request(world, "POST", "/v1/messages", json={}, headers=headers)
    async with world.client(REMOTE) as client:
        unknown = await client.post("/v1/messages", json=MESSAGES, headers=headers)
    plain = await request(world, "POST", CHAT, json={}, headers=headers)

    assert [x.headers.get("request-id") for x in (good, bad, unknown)] == ["mine"] * 3
    assert bad.json()["request_id"] == unknown.json()["request_id"] == "mine"
    assert "request-id" not in plain.headers
    assert "request_id" not in plain.json()


async def test_a_stream_in_anthropic_s_form_carries_its_request_id(world, stream):
    """Its head, and the event that ends it when it breaks."""
    event = b'event: message_start\ndata: {"type": "message_start", "message": {}}\n\n'
    world.lanes.answers = [stream(event, ConnectionResetError())]
    headers = {"x-request-id": "mine"}

    body = {**MESSAGES, "stream": True}
    response = await request(world, "POST", "/v1/messages", json=body, headers=headers)

    assert response.headers["request-id"] == "mine"
    assert '"request_id":"mine"' in response.text or "event: error" not in response.text


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "path", ["/v1/messages/batches", "/v1/messages/batches/1", "/v1/messages/x/y"]
)
async def test_an_unknown_route_below_messages_answers_as_anthropic_does(world, method, path):
    """404 with its error type, not OpenAI's form."""
    response = await request(world, method, path)

    assert response.status_code == 404
    assert response.json()["type"] == "error"
    assert error_of(response)["type"] == "not_found_error"
    assert response.headers["request-id"] == response.json()["request_id"]


async def test_anthropic_s_clients_read_of_any_unknown_route(world):
    """Its SDK calls routes that are not below `/v1/messages`, too; OpenAI's get their form."""
    anthropics = {"anthropic-version": "2023-06-01"}

    theirs = await request(world, "GET", "/v1/files?beta=true", headers=anthropics)
    other = await request(world, "GET", "/v1/files")
    chat = await request(world, "POST", CHAT, json={}, headers=anthropics)

    assert (theirs.json()["type"], error_of(theirs)["type"]) == ("error", "not_found_error")
    assert "type" not in other.json()
    assert "type" not in chat.json()


async def test_the_anthropic_sdk_reads_ids_errors_and_models(world, engine):
    """The stock client, only its base URL and transport changed."""
    world.lanes.answers = [engine({"id": "m", "type": "message", "content": []})]
    transport = httpx2.ASGITransport(world.gateway, client=("127.0.0.1", 1))
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        anthropic.AsyncAnthropic(
            base_url="http://localhost", api_key="none", http_client=http, max_retries=0
        ) as client,
    ):
        message = await client.messages.create(
            model="auto", max_tokens=5, messages=HELLO["messages"]
        )
        with pytest.raises(anthropic.NotFoundError) as missing:
            await client.messages.batches.list()
        models = [model async for model in await client.models.list(limit=2)]
        model = await client.models.retrieve("auto")
        with pytest.raises(anthropic.NotFoundError):
            await client.models.retrieve("nothing")

    assert message._request_id
    assert missing.value.request_id == missing.value.body["request_id"]
    assert [x.id for x in models] == ["auto", "chat", "quality", "small", "large"]
    assert (model.display_name, model.lifecycle, model.created_at.year) == ("auto", "active", 1970)


@pytest.mark.parametrize(
    ("query", "ids", "more"),
    [
        ("", ["auto", "chat", "quality", "small", "large"], False),
        ("?limit=2", ["auto", "chat"], True),
        ("?after_id=quality", ["small", "large"], False),
        ("?after_id=auto&limit=1", ["chat"], True),
        ("?before_id=quality&limit=1", ["chat"], True),
        ("?limit=0&after_id=nothing", ["auto", "chat", "quality", "small", "large"], False),
        (f"?limit={'9' * 5000}", ["auto", "chat", "quality", "small", "large"], False),
    ],
)
async def test_anthropic_s_list_of_models_has_pages(world, query, ids, more):
    """`limit`, `after_id` and `before_id` as its API has them."""
    headers = {"anthropic-version": "2023-06-01"}

    page = (await request(world, "GET", f"/v1/models{query}", headers=headers)).json()

    assert [x["id"] for x in page["data"]] == ids
    assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[0], ids[-1], more)


@pytest.mark.security
async def test_a_model_card_has_all_that_vllm_s_has(world):
    """The fields of the pinned vLLM's ModelCard and ModelPermission, and no path of ours."""
    cards = {x["id"]: x for x in (await request(world, "GET", "/v1/models")).json()["data"]}

    for card in cards.values():
        assert {"id", "object", "created", "owned_by", "root", "parent", "permission"} <= {*card}
        [permission] = card["permission"]
        assert permission["object"] == "model_permission"
        assert (permission["allow_sampling"], permission["is_blocking"]) == (True, False)
        assert len(permission) == 12
    assert {cards[x]["root"] for x in ("chat", "small")} == {"small"}
    assert cards["small"]["max_model_len"] == 4096
    assert (cards["auto"]["root"], cards["auto"]["parent"]) == ("auto", None)


async def test_the_openai_sdk_lists_models(world):
    """The stock client reads the list, and one model."""
    transport = httpx.ASGITransport(world.gateway, client=("127.0.0.1", 1))
    async with (
        httpx.AsyncClient(transport=transport) as http,
        openai.AsyncOpenAI(
            base_url="http://localhost/v1", api_key="none", http_client=http
        ) as client,
    ):
        models = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("small")

    assert "auto" in models
    assert one.model_extra["root"] == "small"
