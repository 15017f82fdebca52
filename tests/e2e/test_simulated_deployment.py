"""The whole graph over simulated engines: faults, disconnects, ceilings, redeploys."""

from __future__ import annotations

import concurrent.futures
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import yaml

from benchmarks.deployment import ROOT, cpu_s, pids_of
from tests.e2e.support import chat, eventually, is_idle, new_key, pointsman, totals, words


def _stream_text(http: httpx.Client, url: str, body: dict, **kwargs: object) -> str:
    with http.stream("POST", f"{url}/v1/chat/completions", json=body, **kwargs) as response:
        assert response.status_code == 200
        return "".join(response.iter_text())


def _abandon(url: str, body: bytes, wait_s: float) -> None:
    """Send a request and drop the connection after `wait_s`."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
        )
        time.sleep(wait_s)


def test_1000_disconnects_leave_nothing_behind(simulated: str, http: httpx.Client) -> None:
    """Clients that leave at any moment leave every count at 0."""
    rng = random.Random(7)
    body = httpx.Request(
        "POST", "http://x", json=chat("hello", stream=True, max_tokens=500)
    ).content
    waits = [rng.choice([0, 0.001, 0.01, 0.05, 0.2]) for _ in range(1000)]

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda wait: _abandon(simulated, body, wait), waits))

    eventually(lambda: is_idle(http, simulated), within_s=5)
    metrics = http.get(f"{simulated}/metrics").text
    assert 'code="499"' in metrics


def test_two_clients_killed_mid_stream_free_the_engine(simulated: str, http: httpx.Client) -> None:
    """The engine has nothing running within a second of its clients' death."""
    body = httpx.Request("POST", "http://x", json=chat("x", stream=True, max_tokens=900)).content
    threads = [threading.Thread(target=_abandon, args=(simulated, body, 4)) for _ in range(2)]
    for thread in threads:
        thread.start()
    eventually(lambda: totals(http.get(f"{simulated}/status").json())["engines"] == 2, within_s=3)

    for thread in threads:
        thread.join()

    eventually(lambda: is_idle(http, simulated), within_s=1)


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
    eventually(lambda: is_idle(http, simulated), within_s=2)


def test_a_bad_key_is_refused_even_locally(simulated: str, http: httpx.Client) -> None:
    """A key that looks like ours has to be one of ours."""
    headers = {"authorization": "Bearer pm-000000000000-wrong"}

    response = http.post(f"{simulated}/v1/chat/completions", json=chat("x"), headers=headers)

    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert "wrong" not in response.text


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


def test_operators_routes_need_an_admin_key(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """A tenant's key reads its own status and no metrics."""
    headers = new_key(tenants_file, "plain", "open", simulated)

    metrics = http.get(f"{simulated}/metrics", headers=headers)
    status = http.get(f"{simulated}/status", headers=headers).json()

    assert (metrics.status_code, metrics.json()["error"]["code"]) == (403, "admin_only")
    assert status["tenant"] == "plain" and "lanes" not in status


def test_the_tokens_per_second_ceiling_holds_over_two_ingress_replicas(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """No one-second window of four streams delivers more than 10 tokens, plus one a replica."""
    headers = new_key(tenants_file, "slow-one", "slow", simulated)
    times: list[float] = []

    def run(number: int) -> None:
        body = chat(f"stream {number}", stream=True, max_tokens=12)
        with (
            httpx.Client(timeout=60) as own,
            own.stream(
                "POST", f"{simulated}/v1/chat/completions", json=body, headers=headers
            ) as response,
        ):
            times.extend(
                time.monotonic() for line in response.iter_lines() if '"delta":{"content":"' in line
            )

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))

    times.sort()
    assert len(times) >= 12
    # Client-side clock: delivery adds jitter, so the window is a little shorter.
    assert all(times[i + 12] - times[i] > 0.9 for i in range(len(times) - 12))


def test_the_tokens_per_minute_ceiling_refuses_with_retry_after(
    simulated: str, http: httpx.Client, tenants_file: Path
) -> None:
    """Spent tokens are refused with 429 `token_rate` and an honest wait."""
    headers = new_key(tenants_file, "small-one", "small", simulated)
    body = chat("x", max_tokens=120)

    answers = [
        http.post(f"{simulated}/v1/chat/completions", json=body, headers=headers) for _ in range(9)
    ]

    refused = [answer for answer in answers if answer.status_code == 429]
    assert 200 in {answer.status_code for answer in answers}
    assert refused
    assert refused[0].json()["error"]["code"] == "token_rate"
    assert 1 <= int(refused[0].headers["retry-after"]) <= 60
    assert answers[0].headers["x-ratelimit-limit-tokens"] == "300"


def test_a_stream_that_breaks_ends_with_one_error_event(simulated: str, http: httpx.Client) -> None:
    """What was sent stays whole; the last event says that a retry is safe."""
    text = _stream_text(http, simulated, chat("[break]", stream=True, max_tokens=9))

    events = [event for event in text.split("\n\n") if event]
    assert len(words(text)) == 3
    assert '"code":"no_replica"' in events[-1]
    assert text.count('"error"') == 1


def test_an_engine_that_hangs_is_given_up(simulated: str, http: httpx.Client) -> None:
    """504 `deadline_exceeded` after the configured silence."""
    response = http.post(f"{simulated}/v1/chat/completions", json=chat("[hang]"))

    assert (response.status_code, response.json()["error"]["code"]) == (504, "deadline_exceeded")


def test_an_engine_fault_is_told_in_our_words(simulated: str, http: httpx.Client) -> None:
    """A 500 of every replica is a 503, with nothing of the engine's text."""
    response = http.post(f"{simulated}/v1/chat/completions", json=chat("[fail]"))

    assert (response.status_code, response.json()["error"]["code"]) == (503, "no_replica")
    assert "simulated fault" not in response.text


def test_every_ingress_replica_sends_a_session_to_the_same_replica(
    simulated: str, http: httpx.Client
) -> None:
    """Two ingress replicas, twenty sessions, four turns each: one engine replica each."""
    homes: dict[str, set[str]] = {}
    for turn in range(4):
        for number in range(20):
            headers = {"x-session-id": f"s{number}", "x-pointsman-debug": "1"}
            with httpx.Client() as own:
                answer = own.post(
                    f"{simulated}/v1/chat/completions",
                    json=chat(f"turn {turn}", max_tokens=1),
                    headers=headers,
                )
            homes.setdefault(f"s{number}", set()).add(answer.headers["x-pointsman-replica"])

    assert all(len(replicas) == 1 for replicas in homes.values())
    assert len(set.union(*homes.values())) == 2


def test_a_killed_engine_replica_is_not_the_users_problem(
    simulated: str, http: httpx.Client
) -> None:
    """After SIGKILL of a replica every new request is answered, and the replica returns."""
    victim = pids_of("ray::ServeReplica:pointsman:lane:chat")[0]

    os.kill(victim, signal.SIGKILL)
    codes = [
        http.post(
            f"{simulated}/v1/chat/completions",
            json=chat("x", max_tokens=1),
            headers={"x-session-id": f"k{number}"},
        ).status_code
        for number in range(30)
    ]

    assert codes == [200] * 30
    eventually(
        lambda: len(http.get(f"{simulated}/status").json()["lanes"]["chat"]["replicas"]) == 2,
        within_s=60,
        every_s=0.5,
    )


def test_a_killed_ingress_leaves_no_count_behind(simulated: str, http: httpx.Client) -> None:
    """SIGKILL of an ingress replica under streams: the engines' counts go back to 0."""
    body = httpx.Request("POST", "http://x", json=chat("x", stream=True, max_tokens=2000)).content
    threads = [threading.Thread(target=_abandon, args=(simulated, body, 8)) for _ in range(8)]
    for thread in threads:
        thread.start()
    eventually(lambda: totals(http.get(f"{simulated}/status").json())["engines"] == 8, within_s=6)

    for victim in pids_of("ray::ServeReplica:pointsman:ingress"):
        os.kill(victim, signal.SIGKILL)
    for thread in threads:
        thread.join()

    def idle_again() -> bool:
        try:
            return is_idle(http, simulated)
        except (httpx.HTTPError, KeyError, ValueError):
            return False

    eventually(idle_again, within_s=60, every_s=0.5)


def test_a_redeploy_does_not_cut_a_stream(
    simulated: str, http: httpx.Client, tenants_file: Path, tmp_path: Path
) -> None:
    """New arguments restart every deployment; a stream under way ends as it should."""
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    fleet = yaml.safe_load((Path(__file__).parent / "simulated_fleet.yaml").read_text())
    fleet["lanes"]["chat"]["simulated"]["ttft_s"] = 0.03
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump(fleet))
    config["applications"][0]["args"] |= {"fleet": str(path), "tenants": str(tenants_file)}
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(config))
    replicas = set(pids_of("ray::ServeReplica:pointsman:lane:chat"))
    result: list[str] = []
    body = chat("a long one", stream=True, max_tokens=900)
    thread = threading.Thread(
        target=lambda: result.append(_stream_text(http, simulated, body)), daemon=True
    )
    thread.start()

    serve = str(Path(sys.executable).with_name("serve"))
    subprocess.run([serve, "deploy", str(tmp_path / "serve.yaml")], check=True, cwd=ROOT)
    thread.join(90)

    assert result and len(words(result[0])) == 900
    assert result[0].endswith("data: [DONE]\n\n")
    eventually(
        lambda: not replicas & set(pids_of("ray::ServeReplica:pointsman:lane:chat")),
        within_s=60,
        every_s=0.5,
    )
    eventually(lambda: http.get(f"{simulated}/ready").status_code == 200, within_s=30)


def test_the_dashboard_names_every_deployment_and_shows_its_work(
    simulated: str, http: httpx.Client
) -> None:
    """Ray's dashboard API asks for the token, and knows ingress and lanes by name."""
    token = (Path.home() / ".ray" / "auth_token").read_text().strip()
    url = "http://127.0.0.1:8265/api/serve/applications/"

    refused = http.get(url)
    shown = http.get(url, headers={"authorization": f"Bearer {token}"}).json()

    assert refused.status_code == 401
    deployments = shown["applications"]["pointsman"]["deployments"]
    assert {name: x["status"] for name, x in deployments.items()} == dict.fromkeys(
        ("ingress", "lane:chat", "lane:quality"), "HEALTHY"
    )


def test_an_idle_deployment_stays_idle(simulated: str, http: httpx.Client) -> None:
    """After all of the above nothing is open and the ingress does next to nothing."""
    eventually(lambda: is_idle(http, simulated), within_s=5)
    pids = pids_of("ray::ServeReplica:pointsman:ingress")

    before = cpu_s(pids)
    usage = pointsman("tenants", "usage", "--url", simulated)

    assert cpu_s(pids) - before < 2
    assert isinstance(usage, dict)
