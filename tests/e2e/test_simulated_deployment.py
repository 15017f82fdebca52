"""The whole graph over simulated engines: faults, disconnects, ceilings, deaths."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from benchmarks.support.deployment import cpu_s, pids_of
from classifier.training.dataset import read_rows
from tests.e2e.streams import CHAT, Stream, begin, form, words
from tests.e2e.support import (
    LISTENS,
    PATIENCE_S,
    REPLACED_S,
    await_two,
    chat,
    eventually,
    is_idle,
    new_key,
    pointsman,
    running,
    status_of,
)
from tests.e2e.tenants import add_tenants


def _stream_text(http: httpx.Client, url: str, body: dict) -> str:
    with http.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        assert response.status_code == 200
        return "".join(response.iter_text())


# At 20 ms a token these end by themselves only after everybody's patience has.
ENDLESS = httpx.Request("POST", "http://x", json=chat("x", stream=True, max_tokens=16_000)).content


@contextlib.contextmanager
def _open(url: str) -> Iterator[None]:
    """A client that has sent its request, and is gone afterwards without a word."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"content-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(ENDLESS), ENDLESS)
        )
        yield


def _abandon(url: str, wait_s: float) -> None:
    """Send a request and drop the connection after `wait_s`."""
    with _open(url):
        time.sleep(wait_s)


@pytest.mark.busy
def test_1000_disconnects_leave_nothing_behind(simulated: str, http: httpx.Client) -> None:
    """Clients that leave at any moment leave every count at 0."""
    rng = random.Random(7)
    waits = [rng.choice([0, 0.001, 0.01, 0.05, 0.2]) for _ in range(1000)]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda wait: _abandon(simulated, wait), waits))

    # Requests may still be on their way in when their clients are long gone.
    eventually(lambda: 'code="499"' in http.get(f"{simulated}/metrics").text)
    eventually(lambda: is_idle(http, simulated))


@pytest.mark.busy
def test_two_clients_killed_mid_stream_free_the_engine(simulated: str, http: httpx.Client) -> None:
    """The engine has nothing running long before its clients' answers would end."""
    with _open(simulated), _open(simulated):
        eventually(lambda: running(http, simulated) == 2)

    eventually(lambda: is_idle(http, simulated))


@pytest.mark.busy
def test_a_client_that_stops_reading_holds_up_nobody(simulated: str, http: httpx.Client) -> None:
    """Back-pressure ends at the one slow reader."""
    with http.stream(
        "POST", f"{simulated}/v1/chat/completions", json=chat("x", stream=True, max_tokens=3000)
    ) as stuck:
        chunks = stuck.iter_raw()
        next(chunks)

        text = _stream_text(http, simulated, chat("y", stream=True, max_tokens=5))

        assert next(chunks)

    assert text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"not json", 400, "invalid_json"),
        (b"[1]", 400, "invalid_request"),
        (b'{"messages": "hello"}', 400, "invalid_request"),
        (b'{"messages": [{"role": "user", "content": "x"}], "n": "2"}', 400, "invalid_request"),
        (b'{"messages": [{"role": "user", "content": "x"}], "n": 99}', 400, "invalid_request"),
        (
            b'{"messages": [{"role": "user", "content": "x"}], "kv_transfer_params": {}, "n": 1}',
            400,
            "invalid_request",
        ),
        (
            b'{"messages": [{"role": "user", "content": "x"}], "model": "gpt-9"}',
            404,
            "model_not_found",
        ),
        (b"x" * 10_000_000, 413, "request_too_large"),
        (
            b'{"messages": [{"role": "user", "content": "' + b"word " * 20_000 + b'"}]}',
            400,
            "context_length_exceeded",
        ),
    ],
    ids=["json", "array", "types", "n", "big-n", "refused", "model", "10MB", "too-long"],
)
def test_bad_input_gets_its_status_and_code(
    simulated: str, http: httpx.Client, body: bytes, status: int, code: str
) -> None:
    """The contract's status and code, in OpenAI's shape, and nothing in flight after."""
    response = http.post(f"{simulated}/v1/chat/completions", content=body)

    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    eventually(lambda: is_idle(http, simulated))


@pytest.mark.security
def test_a_bad_key_is_refused_even_locally(simulated: str, http: httpx.Client) -> None:
    """A key that looks like ours has to be one of ours."""
    headers = {"authorization": "Bearer pm-000000000000-wrong"}

    response = http.post(f"{simulated}/v1/chat/completions", json=chat("x"), headers=headers)

    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert "wrong" not in response.text


@pytest.mark.security
def test_a_tenant_uses_only_its_lanes(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """A pinned lane outside the tier is 403, and is not listed."""
    headers = new_key(tenants_file, "narrow-one", "narrow", simulated)

    refused = http.post(
        f"{simulated}/v1/chat/completions", json=chat("x") | {"model": "quality"}, headers=headers
    )
    listed = http.get(f"{simulated}/v1/models", headers=headers).json()["data"]

    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert {model["id"] for model in listed} == {"auto", "chat", "simulated-chat"}


@pytest.mark.security
def test_operators_routes_need_an_admin_key(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """A tenant's key reads its own status and no metrics."""
    headers = new_key(tenants_file, "plain", "open", simulated)

    metrics = http.get(f"{simulated}/metrics", headers=headers)
    status = http.get(f"{simulated}/status", headers=headers).json()

    assert (metrics.status_code, metrics.json()["error"]["code"]) == (403, "admin_only")
    assert status["tenant"] == "plain" and "lanes" not in status


@pytest.mark.parametrize("given", ["r" * 200, "r" * 300, "", "a b"])
def test_a_request_has_one_id_that_feedback_finds(
    simulated: str, http: httpx.Client, given: str
) -> None:
    """The given one where it is usable; what Serve tells is what we keep."""
    headers = {"x-request-id": given}

    answer = http.post(f"{simulated}/v1/chat/completions", json=chat("x"), headers=headers)
    [told] = answer.headers.get_list("x-request-id")
    body = {"request_id": told, "thumb": "up"}

    assert (told == given) is (given in ("r" * 200, "a b"))
    eventually(lambda: http.post(f"{simulated}/v1/feedback", json=body).status_code == 200)


@pytest.mark.security
@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/models", {"x-big": "x" * 15_000}, 200),
        ("/v1/models", {"x-big": "x" * 20_000}, 431),
        ("/v1/models", {"x-big": "x" * 60_000}, 431),
        ("/v1/models?x=" + "y" * 60_000, {}, 414),
        ("/v1/models", {"expect": "x"}, 417),
        ("/v1/models", {"via": "1.1 proxy"}, 401),
        ("/v1/models", {"authorization": "pm-000000000000-wrong"}, 401),
        ("/v1/models", {"api-key": "pm-000000000000-wrong"}, 401),
        ("/v1/models", {"origin": "https://evil.example"}, 401),
        ("/v1/chat/ws", {}, 426),
    ],
)
def test_what_is_wrong_with_a_request_s_head_is_said_in_json(
    simulated: str, http: httpx.Client, path: str, headers: dict[str, str], status: int
) -> None:
    """All that docs/compatibility.md says."""
    answer = http.get(f"{simulated}{path}", headers=headers)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert ("error" in answer.json()) is (status != 200)


@pytest.mark.skipif(not LISTENS, reason="HAProxy refuses more than 101 lines")
def test_many_header_lines_are_taken_and_a_header_without_end_is_not(
    simulated: str, http: httpx.Client
) -> None:
    """The listener's bound is 64 KB; HAProxy would refuse more than 101 lines."""
    many = http.get(f"{simulated}/health", headers={f"x-{i}": "1" for i in range(120)})
    big = http.get(f"{simulated}/health", headers={"x-big": "x" * 70_000})

    assert (many.status_code, big.status_code) == (200, 431)
    assert big.json()["error"]["code"] == "invalid_request"


@pytest.mark.skipif(not LISTENS, reason="what the hop is about")
def test_clients_reach_ingress_replicas_without_a_hop(simulated: str, http: httpx.Client) -> None:
    """Every connection of these is one of the replicas' own listeners."""

    def served() -> int:
        rows = status_of(http, simulated)["ingress"]
        return sum(row["listener"]["served"] for row in rows)

    before = served()
    for _ in range(8):
        assert httpx.get(f"{simulated}/-/healthz").text == "success"
    assert served() >= before + 8


def test_methods_are_told(simulated: str, http: httpx.Client) -> None:
    """HEAD is GET without a body, OPTIONS and 405 name the methods."""
    for path in ("/", "/health", "/ready", "/v1/models"):
        get, head = http.get(simulated + path), http.head(simulated + path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]
    put = http.put(f"{simulated}/v1/models")
    asked = http.options(f"{simulated}/v1/chat/completions")

    assert (put.status_code, put.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert (asked.status_code, asked.headers["allow"]) == (204, "POST, OPTIONS")


@pytest.mark.security
def test_http_1_0_needs_a_key(simulated: str) -> None:
    """What nginx sends on, when it is told nothing, cannot be told from the world."""
    host, port = simulated.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.0\r\nhost: 127.0.0.1:8000\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert b" 401 " in answer.split(b"\r\n")[0]


def test_a_page_of_this_machine_reads_a_stream(simulated: str, http: httpx.Client) -> None:
    """Its preflight and its stream."""
    url, page = f"{simulated}/v1/chat/completions", {"origin": "http://localhost:5173"}
    asking = {"access-control-request-method": "POST", "access-control-request-headers": "a, b"}

    preflight = http.options(url, headers=page | asking)
    body = chat("x", stream=True, max_tokens=3)
    with http.stream("POST", url, json=body, headers=page) as answer:
        text = "".join(answer.iter_text())

    assert (preflight.status_code, preflight.headers["access-control-allow-headers"]) == (
        204,
        "a, b",
    )
    assert answer.headers["access-control-allow-origin"] == page["origin"]
    assert text.endswith("data: [DONE]\n\n")


def test_a_compressed_body_is_served(simulated: str, http: httpx.Client) -> None:
    """gzip, and zstd by a codec that Serve's processes have."""
    raw = json.dumps(chat("x", max_tokens=3)).encode()
    url = f"{simulated}/v1/chat/completions"
    zstd = pa.Codec("zstd").compress(raw, asbytes=True)

    for coding, content in (("gzip", gzip.compress(raw)), ("zstd", zstd), ("gzip", raw)):
        answer = http.post(url, content=content, headers={"content-encoding": coding})
        assert answer.status_code == (400 if content is raw else 200)
    unknown = http.post(url, content=raw, headers={"content-encoding": "lz4"})

    assert unknown.status_code == 415
    assert "zstd" in unknown.headers["accept-encoding"]


def test_a_proxy_is_told_to_the_operator(simulated: str, http: httpx.Client) -> None:
    """By whichever ingress replica saw it."""
    http.get(f"{simulated}/v1/models", headers={"x-real-ip": "203.0.113.5"})

    status = status_of(http, simulated)

    assert any("a proxy stands before" in warning for warning in status["warnings"])


@pytest.mark.busy
def test_the_tokens_per_second_ceiling_holds_over_two_ingress_replicas(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """Four streams never have more than 10 a second, one second's worth ahead, one a replica.

    Each token is read after it was sent and counted from before the first request, so that a
    slow machine can only add to the times. An engine that is late merges tokens; the ceiling
    counts events then.
    """
    headers = new_key(tenants_file, "slow-one", "slow", simulated)
    times: list[float] = []
    tokens: list[int] = []

    def read(own: httpx.Client, body: dict) -> int:
        with own.stream(
            "POST", f"{simulated}/v1/chat/completions", json=body, headers=headers
        ) as response:
            for line in response.iter_lines():
                if count := len(words(line)):
                    times.append(time.monotonic())
                    tokens.append(count)
        return response.status_code

    def run(number: int) -> None:
        body = chat(f"stream {number}", stream=True, max_tokens=12)
        with httpx.Client(timeout=60) as own:
            # One that comes late finds the others' debt, and comes again.
            eventually(lambda: read(own, body) == 200, every_s=0.2)

    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))

    assert sum(tokens) == 48
    assert all(at - begun > (number - 12) / 10 for number, at in enumerate(sorted(times), start=1))


@pytest.mark.busy
def test_the_tokens_per_minute_ceiling_refuses_with_retry_after(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """Spent tokens are refused with 429 `token_rate` and an honest wait."""
    headers = new_key(tenants_file, "small-one", "small", simulated)
    body = chat("word " * 100, max_tokens=20)
    answers: list[httpx.Response] = []

    def is_refused() -> bool:
        url = f"{simulated}/v1/chat/completions"
        answers.append(http.post(url, json=body, headers=headers))
        has_spent = 200 in {answer.status_code for answer in answers}
        return has_spent and answers[-1].status_code == 429

    eventually(is_refused)
    assert answers[-1].json()["error"]["code"] == "token_rate"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert answers[0].headers["x-ratelimit-limit-tokens"] == "600"


def test_feedback_finds_the_callers_own_request(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """By its x-request-id, over any ingress replica; nobody else's, and no made-up one."""
    headers = new_key(tenants_file, "judge", "open", simulated)

    def give(request_id: str, **kwargs: dict[str, str]) -> httpx.Response:
        # A connection of its own: the balancer picks an ingress replica for each.
        with httpx.Client(timeout=60) as own:
            body = {"request_id": request_id, "thumb": "up"}
            return own.post(f"{simulated}/v1/feedback", json=body, **kwargs)

    ids = [
        http.post(
            f"{simulated}/v1/chat/completions", json=chat("x", max_tokens=1), headers=headers
        ).headers["x-request-id"]
        for _ in range(4)
    ]
    for request_id in ids:
        # The other replica's record of it may be on its way to the store.
        eventually(lambda at=request_id: give(at, headers=headers).status_code == 200)
    others = give(ids[0])
    unknown = give("made-up", headers=headers)

    assert (others.status_code, unknown.status_code) == (404, 404)
    assert others.json() == unknown.json()
    assert unknown.json()["error"]["code"] == "invalid_request"


def test_a_tenants_requests_are_exported_redacted_and_nobody_elses(
    simulated: str, simulated_file: Path, tenants_file: Path, http: httpx.Client, tmp_path: Path
) -> None:
    """Body, calls, answer, decision and feedback, from files of either ingress replica."""
    kept = {"tier": "open", "keep_traces_days": 1}
    mine, others = add_tenants(
        tenants_file, simulated, {"traced": kept, "untraced": {"tier": "open"}}
    )
    call = {"name": "mail", "arguments": '{"to": "bob@example.com"}'}
    asked = chat("Write to bob@example.com", max_tokens=4)
    asked["messages"] += [
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "c", "content": "sent to +49 30 1234567"},
    ]
    url, out = f"{simulated}/v1/chat/completions", tmp_path / "traces.jsonl"

    http.post(url, json=asked, headers=others)
    answer = http.post(url, json=asked, headers=mine)
    with http.stream("POST", url, json={**asked, "stream": True}, headers=mine) as stream:
        stream.read()
    thumb = {"request_id": answer.headers["x-request-id"], "thumb": "up"}
    eventually(
        lambda: http.post(f"{simulated}/v1/feedback", json=thumb, headers=mine).status_code == 200
    )
    command = ["traces", "export", "--fleet", str(simulated_file), "--out", str(out)]
    eventually(lambda: pointsman(*command)["rows"] == 2)

    first, second = map(json.loads, out.read_text().splitlines())
    assert [x["tenant"] for x in (first, second)] == ["traced"] * 2
    assert first["body"]["messages"][0]["content"] == "Write to [email]"
    assert "[phone]" in str(first["body"]) and "bob" not in out.read_text()
    assert first["answer"] == answer.json()["choices"][0]["message"]["content"]
    assert second["answer"].startswith("simulated")
    assert first["lane"] == answer.headers["x-pointsman-lane"]
    assert (first["code"], first["completion_tokens"]) == ("200", 4)
    assert (first["request_id"], first["thumb"], second["thumb"]) == (
        answer.headers["x-request-id"],
        1,
        None,
    )
    assert first["policy_version"] and second["ttft_s"] > 0


def test_label_writes_rows_that_train_reads(simulated: str, tmp_path: Path) -> None:
    """Outcomes of the two lanes of a running deployment, from the command line."""
    prompts, out, check = (tmp_path / name for name in ("prompts.jsonl", "rows.jsonl", "check.py"))
    texts = ["What is a lane?", "What is a tier?", "What is a tenant?"]
    prompts.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    check.write_text(
        "import json, sys\n"
        "given = json.load(sys.stdin)\n"
        "sys.exit(0 if given['lane'] == 'quality' and given['answer'] else 1)\n"
    )
    command = ["classifier", "label", "--prompts", str(prompts), "--out", str(out)]
    command += ["--url", simulated, "--lanes", "chat,quality", "--samples", "2"]
    command += ["--check", "command", "--command", f"{sys.executable} {check}"]
    command += ["--max-tokens", "8"]

    first = pointsman(*command)
    second = pointsman(*command)

    data = read_rows([out])
    assert (first["labelled"], first["failed"], second["labelled_before"]) == (3, 0, 3)
    assert sorted(data.text) == sorted(texts)
    assert (data.weak.tolist(), data.strong.tolist()) == ([0.0] * 3, [1.0] * 3)
    row = json.loads(out.read_text().splitlines()[0])
    assert (row["weak_model"], row["strong_model"]) == ("simulated-chat", "simulated-quality")


def test_a_stream_that_breaks_goes_on_from_another_replica(
    simulated: str, http: httpx.Client
) -> None:
    """Cut after three tokens: the rest comes from elsewhere, in the same stream."""
    body = chat("[break]", stream=True, max_tokens=9, temperature=0)

    text = _stream_text(http, simulated, body)

    assert len(words(text)) == 9
    assert text.count('"role":"assistant"') == 1
    assert text.endswith("data: [DONE]\n\n") and '"error"' not in text


def test_a_stream_that_cannot_go_on_ends_with_one_error_event(
    simulated: str, http: httpx.Client
) -> None:
    """What was sent stays whole; the last event says that a retry is safe."""
    body = chat("[break]", stream=True, max_tokens=9, presence_penalty=0.5)

    text = _stream_text(http, simulated, body)

    events = [event for event in text.split("\n\n") if event]
    assert len(words(text)) == 3
    assert '"code":"no_replica"' in events[-1]
    assert text.count('"error"') == 1


@pytest.mark.busy
def test_an_engine_that_hangs_is_given_up(simulated: str, http: httpx.Client) -> None:
    """504 `deadline_exceeded` after the configured silence.

    A stream is heard from all the way: head and comments come long before
    anything is known; then the refusal.
    """
    url = f"{simulated}/v1/chat/completions"
    # What everybody asked before decides whether this would be among the complex few.
    body = chat("[hang]", model="chat")
    comments, data, begun = 0, [], time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asking = pool.submit(http.post, url, json=body)
        with http.stream("POST", url, json=body | {"stream": True}) as response:
            heard_s = time.monotonic() - begun
            for line in response.iter_lines():
                comments += line == ": waiting"
                data += [json.loads(line[6:])] if line.startswith("data: ") else []
        waited_s = time.monotonic() - begun
        whole = asking.result()

    assert (whole.status_code, whole.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert (response.status_code, response.headers["x-pointsman-lane"]) == (200, "chat")
    assert response.headers["x-request-id"] and response.headers["x-session-id"]
    assert [event["error"]["code"] for event in data] == ["deadline_exceeded"]
    assert comments >= 3 and heard_s < waited_s / 2
    eventually(lambda: is_idle(http, simulated))


@pytest.mark.busy
def test_a_client_that_leaves_after_comments_leaves_nothing_behind(
    simulated: str, http: httpx.Client
) -> None:
    """Long before its engine would be given up."""
    body = chat("[hang]", stream=True)
    with http.stream("POST", f"{simulated}/v1/chat/completions", json=body) as response:
        assert next(response.iter_lines()) == ": waiting"

    eventually(lambda: is_idle(http, simulated), within_s=6)


def test_an_engine_fault_is_told_in_our_words(simulated: str, http: httpx.Client) -> None:
    """A 500 of engines that are well is a 400, with nothing of the engine's text."""
    response = http.post(f"{simulated}/v1/chat/completions", json=chat("[fail]"))

    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    assert "simulated fault" not in response.text


def _talk(session: str, history_chars: int, **fields: object) -> dict[str, object]:
    """Arguments of a request whose conversation is so long already."""
    messages = [
        {"role": "user", "content": "So " * (history_chars // 3)},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Go on."},
    ]
    headers = {"x-session-id": session, "x-pointsman-debug": "1"}
    return {"json": {"model": "chat", "messages": messages, **fields}, "headers": headers}


def _replica_of(url: str, session: str, history_chars: int = 0) -> str:
    """Who answers, over a connection of its own: the balancer picks the ingress replica."""
    with httpx.Client(timeout=30) as own:
        answer = own.post(
            f"{url}/v1/chat/completions", **_talk(session, history_chars, max_tokens=1)
        )
    return answer.headers["x-pointsman-replica"]


def _ingresses(http: httpx.Client, url: str) -> list[dict]:
    """What each ingress replica says of itself; there are two."""
    rows: list[dict] = eventually(
        lambda: found if len(found := status_of(http, url).get("ingress", ())) == 2 else None
    )
    return rows


@pytest.mark.busy
def test_every_ingress_replica_sends_a_session_to_the_same_replica(
    simulated: str, http: httpx.Client
) -> None:
    """Two ingress replicas, twenty sessions, four turns each: one engine replica each.

    Their history costs more to read again than a request that has just ended, and is
    still counted somewhere, weighs. A replica that the tests before have made fail is
    back with every ingress replica.
    """
    eventually(lambda: not any(x["ejected"] for x in _ingresses(http, simulated)))
    homes: dict[str, set[str]] = {}
    for _ in range(4):
        for number in range(20):
            homes.setdefault(f"s{number}", set()).add(_replica_of(simulated, f"s{number}", 3_600))

    assert all(len(replicas) == 1 for replicas in homes.values())
    assert len(set.union(*homes.values())) == 2


@pytest.mark.busy
def test_a_session_leaves_a_busy_replica_and_every_ingress_finds_it(
    simulated: str, http: httpx.Client
) -> None:
    """Warm sessions hold a replica; a new one spills, and stays where it went."""
    home = _replica_of(simulated, "g0")
    busy = [f"b{i}" for i in range(60) if _replica_of(simulated, f"b{i}") == home][:8]
    new = next(f"n{i}" for i in range(60) if _replica_of(simulated, f"n{i}") == home)
    with contextlib.ExitStack() as stack:
        for session in busy:
            # A history that costs more to read again than the crowd costs.
            body = _talk(session, 3_600, stream=True, max_tokens=2_500)
            stream = stack.enter_context(
                http.stream("POST", f"{simulated}/v1/chat/completions", **body)
            )
            assert stream.headers["x-pointsman-replica"] == home

        eventually(lambda: _replica_of(simulated, new) != home)

    eventually(lambda: is_idle(http, simulated))
    eventually(lambda: all(_replica_of(simulated, new, 3_600) != home for _ in range(8)))
    eventually(lambda: 'outcome="spilled"' in http.get(f"{simulated}/metrics").text)


@pytest.mark.busy
def test_lane_replicas_that_end_are_not_the_users_problem(
    simulated: str, http: httpx.Client
) -> None:
    """One is killed and one terminated, of two lanes with two replicas and eight streams each.

    Every greedy text is whole, every new request is answered, and both return.
    """
    tokens = {"chat": 300, "quality": 800}

    def streams(lane: str) -> list[Stream]:
        asked = [
            form(CHAT, f"story {n}", tokens[lane], model=lane, temperature=0) for n in range(8)
        ]
        return [Stream(simulated, CHAT, x, f"{lane}-{n}") for n, x in enumerate(asked)]

    for lane in tokens:
        await_two(http, simulated, lane)
    victims = [pids_of(f"ray::ServeReplica:pointsman:lane:{lane}")[0] for lane in tokens]
    disturbed = {lane: streams(lane) for lane in tokens}
    begin([*disturbed["chat"], *disturbed["quality"]])

    for pid, how in zip(victims, (signal.SIGTERM, signal.SIGKILL), strict=True):
        os.kill(pid, how)
    codes = [
        http.post(
            f"{simulated}{CHAT}",
            json=chat("x", max_tokens=1) | {"model": lane},
            headers={"x-session-id": f"k{number}"},
        ).status_code
        for number in range(15)
        for lane in tokens
    ]

    assert codes == [200] * 30
    # The next token depends on those before it alone: there is one text for both lanes.
    undisturbed = streams("quality")
    begin(undisturbed)
    for stream in (*disturbed["chat"], *disturbed["quality"], *undisturbed):
        stream.join(PATIENCE_S)
    assert all(x.is_whole for x in (*disturbed["chat"], *disturbed["quality"], *undisturbed))
    for lane, count in tokens.items():
        texts = [stream.words for stream in disturbed[lane]]
        assert texts == [stream.words[:count] for stream in undisturbed]
        assert len(texts[0]) == count
        await_two(http, simulated, lane)


@pytest.mark.busy
def test_a_killed_ingress_leaves_no_count_behind(simulated: str, http: httpx.Client) -> None:
    """SIGKILL of an ingress replica under streams: the engines' counts go back to 0."""
    with contextlib.ExitStack() as clients:
        for _ in range(8):
            clients.enter_context(_open(simulated))
        eventually(lambda: running(http, simulated) == 8)
        for victim in pids_of("ray::ServeReplica:pointsman:ingress"):
            os.kill(victim, signal.SIGKILL)

    # The streams would end by themselves in 320 s.
    eventually(lambda: is_idle(http, simulated), within_s=REPLACED_S, every_s=0.5)


def test_the_dashboard_names_every_deployment_and_shows_its_work(
    simulated: str, http: httpx.Client
) -> None:
    """Ray's dashboard API asks for the token, and knows ingress and lanes by name."""
    token = (Path.home() / ".ray" / "auth_token").read_text().strip()
    url = "http://127.0.0.1:8265/api/serve/applications/"

    def states() -> dict[str, str]:
        shown = http.get(url, headers={"authorization": f"Bearer {token}"}).json()
        deployments = shown["applications"]["pointsman"]["deployments"]
        return {name: x["status"] for name, x in deployments.items()}

    lanes = ("lane:chat", "lane:quality", "lane:elastic", "lane:day", "lane:night")
    healthy = dict.fromkeys(("ingress", "ledger", "swap", *lanes), "HEALTHY")

    assert http.get(url).status_code == 401
    # Tests before have ended replicas.
    eventually(lambda: states() == healthy, within_s=REPLACED_S)


@pytest.mark.busy
def test_an_idle_deployment_stays_idle(simulated: str, http: httpx.Client) -> None:
    """After all of the above nothing is open and no ingress replica spins."""
    eventually(lambda: is_idle(http, simulated))
    pids = pids_of("ray::ServeReplica:pointsman:ingress")

    before, begun = cpu_s(pids), time.monotonic()
    time.sleep(3)
    used, took = cpu_s(pids) - before, time.monotonic() - begun

    assert used < 0.5 * took
    assert isinstance(pointsman("tenants", "usage", "--url", simulated), dict)
