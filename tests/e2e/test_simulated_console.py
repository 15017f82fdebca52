"""The console's feed on a deployment with several ingress replicas."""

from __future__ import annotations

import json
import os
from typing import Any

import httpx

from serve_app.tenancy.local_key import kept_admin_key
from tests.e2e.support import chat


def snapshots(http: httpx.Client, url: str, count: int, **headers: str) -> list[dict[str, Any]]:
    """The first few events of one feed."""
    found = []
    with http.stream("GET", f"{url}/console/feed", headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
            if len(found) == count:
                break
    return found


def test_the_page_is_served_and_its_figures_are_of_the_whole_deployment(
    simulated: str, http: httpx.Client
) -> None:
    page = http.get(f"{simulated}/console")
    assert page.status_code == 200
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    asked = f"console-{os.getpid()}"
    for number in range(4):
        http.post(
            f"{simulated}/v1/chat/completions",
            json=chat("Hello", max_tokens=2),
            headers={"x-request-id": f"{asked}-{number}"},
        )

    admin = {"authorization": f"Bearer {kept_admin_key()}"}
    first, second = snapshots(http, simulated, 2, **admin)

    assert 0.5 < second["at"] - first["at"] < 30
    assert second["scope"] == "all"
    assert {"chat", "quality"} <= set(second["status"]["lanes"])
    # Whichever ingress replica had them: all of them are asked.
    seen = {x["request_id"] for x in second["recent"]["decisions"]}
    assert {f"{asked}-{number}" for number in range(4)} <= seen
    running = second["samples"]["vllm:num_requests_running"]
    assert len([x for x in running if x["lane"] == "chat"]) == 2
    lane = second["deployments"]["lane:chat"]
    assert lane["status"] == "HEALTHY" and lane["states"]["RUNNING"] == 2


def test_without_a_key_its_figures_are_those_of_the_metrics(
    simulated: str, http: httpx.Client
) -> None:
    (found,) = snapshots(http, simulated, 1)

    assert (found["scope"], found["tenant"]) == ("own", "local")
    assert "ingress" not in found["status"] and "log" not in found["recent"]
    assert {x["tenant"] for x in found["recent"]["decisions"]} <= {"local"}
