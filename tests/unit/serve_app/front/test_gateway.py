"""The gateway's routes, and every refusal in its form."""

import json
import logging

import pytest

HELLO = {"messages": [{"role": "user", "content": "Hello"}]}
CHAT = "/v1/chat/completions"
GENERATION = [CHAT, "/v1/completions", "/v1/responses", "/v1/messages"]
REMOTE = "203.0.113.9"


def error_of(response):
    return response.json()["error"]


@pytest.mark.parametrize("path", ["/health", "/health/"])
async def test_health_answers_without_a_key(world, path):
    """The process answers; a trailing slash names the same route."""
    async with world.client(REMOTE) as client:
        response = await client.get(path)

    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_ready_waits_for_every_required_lane(world, ready, status):
    """Until then the lanes that are still loading are named."""
    world.lanes.ready = ready

    async with world.client(REMOTE) as client:
        response = await client.get("/ready")

    assert response.status_code == status
    assert response.json()["loading"] == ([] if ready else ["chat", "quality"])
    assert response.headers.get("retry-after") == (None if ready else "1")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("POST", "/v1/audio/speech", 404),
        ("GET", CHAT, 405),
        ("DELETE", "/v1/messages", 405),
        ("POST", "/health", 405),
        ("PUT", "/metrics", 405),
    ],
)
async def test_unknown_routes_and_methods_are_told_apart(world, method, path, status):
    """404 where there is no such path, 405 where it takes another method."""
    async with world.client() as client:
        response = await client.request(method, path)

    assert response.status_code == status
    assert error_of(response)["code"] == "invalid_request"
    # In the words of the route's SDK.
    assert response.json().get("type") == ("error" if path == "/v1/messages" else None)


@pytest.mark.parametrize("path", [*GENERATION, "/v1/messages/count_tokens", "/v1/route"])
@pytest.mark.parametrize("key", [None, "pm-000000000000-wrong"])
async def test_remote_callers_need_a_key(world, path, key):
    """Nothing is read of a request whose sender is unknown."""
    async with world.client(REMOTE, key) as client:
        response = await client.post(path, content=b"not even JSON")

    assert response.status_code == 401
    assert error_of(response)["code"] == "invalid_api_key"
    assert ("type" in response.json()) == path.startswith("/v1/messages")


@pytest.mark.parametrize("path", ["/metrics", "/status", "/v1/models", "/v1/models/auto"])
async def test_reading_routes_need_a_key_from_elsewhere(world, path):
    """Only this machine reads without one."""
    async with world.client(REMOTE) as client:
        remote = await client.get(path)
    async with world.client() as client:
        local = await client.get(path)

    assert (remote.status_code, local.status_code) == (401, 200)


async def test_an_expired_key_is_refused_on_this_machine_too(world):
    """A key of ours that does not work never falls back to the local tenant."""
    response = await world.post(CHAT, HELLO, key="old")

    assert response.status_code == 401


@pytest.mark.parametrize(
    "headers",
    [{"authorization": "bearer {}"}, {"authorization": "Bearer  {} "}, {"x-api-key": "{}"}],
)
async def test_a_key_is_read_as_either_sdk_sends_it(world, headers):
    """OpenAI's `Authorization: Bearer` and Anthropic's `x-api-key`."""
    filled = {name: value.format(world.keys["guest"]) for name, value in headers.items()}

    async with world.client(REMOTE) as client:
        response = await client.get("/v1/models", headers=filled)

    assert [model["id"] for model in response.json()["data"]] == ["auto", "chat", "small"]


@pytest.mark.parametrize(("name", "status"), [("small", 200), ("auto", 200), ("large", 404)])
async def test_a_model_that_the_caller_may_not_use_does_not_exist(world, name, status):
    """A single model is found where the list shows it."""
    async with world.client(REMOTE, "guest") as client:
        response = await client.get(f"/v1/models/{name}")

    assert response.status_code == status


@pytest.mark.parametrize("path", ["/metrics", "/admin/reload"])
@pytest.mark.parametrize(("key", "status"), [("acme", 403), ("root", 200)])
async def test_operating_routes_need_an_admin_key(world, path, key, status):
    """A tenant's own key is not enough."""
    async with world.client(REMOTE, key) as client:
        method = "GET" if path == "/metrics" else "POST"
        response = await client.request(method, path)

    assert response.status_code == status
    if status == 403:
        assert error_of(response)["code"] == "admin_only"


async def test_a_tenant_sees_its_own_part_of_the_status(world):
    """The deployment's status is for admins."""
    async with world.client(REMOTE, "acme") as client:
        own = await client.get("/status")

    assert own.json() == {"tenant": "acme", "tier": "paid", "near_limit": []}


async def test_an_admin_sees_the_whole_deployment_in_the_status(world):
    """Lanes, ingress replicas and the realised escalation share."""
    async with world.client(REMOTE, "root") as client:
        status = (await client.get("/status")).json()

    assert status["ready"]
    lane = status["escalation"]["lanes"]["quality"]
    assert (lane["target_share"], lane["share"], lane["yield"]) == (0.03, 0.0, 0.0)
    assert status["triggers_firing"] == []
    assert status["lanes"]["chat"]["active_sessions"] == 2
    assert status["lanes"]["chat"]["imbalance"] == 1.0
    assert "text" not in status["lanes"]["chat"]["replicas"][0]


async def test_metrics_cover_the_ingress_and_every_engine(world):
    """One page for the whole deployment."""
    async with world.client() as client:
        response = await client.get("/metrics")

    assert 'pointsman_requests_in_flight{ingress="i1"}' in response.text
    for lane in ("chat", "quality"):
        assert f'vllm:x{{lane="{lane}",replica="r1",engine="0"}}' in response.text


async def test_openapi_describes_the_generation_routes(world):
    """The description is served to anyone."""
    async with world.client(REMOTE) as client:
        response = await client.get("/openapi.json")

    assert set(GENERATION) <= set(response.json()["paths"])


@pytest.mark.parametrize(
    ("content", "fields", "code", "param"),
    [
        (b"{", {}, "invalid_json", None),
        (None, {"messages": []}, "invalid_request", "messages"),
        (None, {"n": 99}, "invalid_request", "n"),
        (None, {"vllm_xargs": {"a": 1}}, "invalid_request", "vllm_xargs"),
        (
            None,
            {"messages": [{"role": "user", "content": "x" * 60_000}]},
            "context_length_exceeded",
            "messages",
        ),
    ],
    ids=["not JSON", "no messages", "n over the cap", "refused field", "too long"],
)
async def test_a_bad_body_is_a_400_with_its_code_and_param(world, content, fields, code, param):
    """What is wrong is named; nothing reaches an engine."""
    body = content or json.dumps({**HELLO, **fields}).encode()

    async with world.client() as client:
        response = await client.post(CHAT, content=body)

    assert response.status_code == 400
    assert (error_of(response)["code"], error_of(response)["param"]) == (code, param)
    assert world.lanes.opened == []
    assert world.in_flight == 0


@pytest.mark.parametrize(
    ("key", "model", "status", "code"),
    [("guest", "large", 403, "model_not_allowed"), ("acme", "gpt", 404, "model_not_found")],
)
async def test_a_model_out_of_reach_is_refused(world, key, model, status, code):
    """Closed and unknown models are told apart."""
    response = await world.post(CHAT, {**HELLO, "model": model}, key=key)

    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert (
        world.count(
            "pointsman_requests_total",
            lane="none",
            reason="none",
            tier="free" if key == "guest" else "paid",
            code=code,
        )
        == 1
    )


@pytest.mark.parametrize("given", [b"x" * 257, b"a\tb"])
async def test_a_session_id_out_of_bounds_is_refused(world, given):
    """Session ids go into headers and keys, so they are checked."""
    async with world.client() as client:
        response = await client.post(CHAT, json=HELLO, headers={b"x-session-id": given})

    assert (response.status_code, error_of(response)["param"]) == (400, "x-session-id")


async def test_a_body_declared_too_large_is_refused_unread(world, call_raw):
    """The content length is enough to know."""
    headers = [(b"content-length", b"65537")]

    sent = await call_raw(world.gateway, [], path=CHAT, headers=headers)

    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["error"]["code"] == "request_too_large"


async def test_a_body_that_grows_too_large_is_refused_on_the_way(world, call_raw):
    """A stream without a length is cut off as soon as it is too long."""
    part = {"type": "http.request", "body": b"x" * 40_000, "more_body": True}

    sent = await call_raw(world.gateway, [part, part, part], path="/v1/messages")

    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["error"]["type"] == "request_too_large"


async def test_a_body_that_does_not_arrive_is_refused(world, call_raw):
    """A sender that stalls is not waited for."""
    part = {"type": "http.request", "body": b"{", "more_body": True}

    sent = await call_raw(world.gateway, [part], path=CHAT)

    assert sent[0]["status"] == 400


async def test_a_client_that_leaves_while_sending_gets_nothing(world, call_raw):
    """There is nobody to answer."""
    messages = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    assert await call_raw(world.gateway, messages, path=CHAT) == []


async def test_a_fault_of_ours_is_a_500_without_details(world, caplog):
    """The client learns nothing of the inside, the log nothing of the prompt."""
    world.lanes.answers = [RuntimeError("at 10.0.0.7")]

    with caplog.at_level(logging.CRITICAL, "ray.serve"):
        response = await world.post(CHAT, HELLO)

    assert response.status_code == 500
    assert error_of(response)["code"] == "internal_error"
    assert "10.0.0.7" not in response.text


async def test_a_dry_run_explains_and_runs_nothing(world):
    """The decision, its score and what admission would say."""
    hard = {"messages": [{"role": "user", "content": "A hard question"}], "max_tokens": 10}

    response = await world.post("/v1/route", hard, key="acme")

    told = response.json()
    assert (told["lane"], told["model"], told["reason"]) == ("quality", "large", "complex")
    assert (told["score"], told["threshold"], told["would_admit"]) == (0.9, 0.5, True)
    assert told["session_id"].startswith("derived-")
    assert world.lanes.opened == []
    assert world.reserved() == 0


async def test_a_dry_run_says_what_could_be_better_about_tools(world):
    function = {"name": "weather", "parameters": {"type": "object", "properties": {"a": {}}}}
    tools = [{"type": "function", "function": function}]

    told = (await world.post("/v1/route", {**HELLO, "tools": tools}, key="acme")).json()["tools"]

    assert (told["count"], told["with_examples"], told["colliding"]) == (1, 0, [])
    found = [finding["finding"] for finding in told["tools"][0]["findings"]]
    assert found == ["no_description", "undescribed_parameters"]
    assert (await world.post("/v1/route", HELLO, key="acme")).json()["tools"] is None


async def test_lifespan_and_websocket_scopes_are_answered(world, call_raw):
    """The server's start and stop are acknowledged."""
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    sent = await call_raw(world.gateway, events, type="lifespan")

    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]
