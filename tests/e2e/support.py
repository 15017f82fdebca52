"""Small helpers that the end-to-end tests share."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

from benchmarks.support.deployment import ROOT, admin_headers, serve_config
from serve_app import cli

PATIENCE_S = 60.0
"""How long what has to happen is waited for: not how long it may take, which benchmarks say."""

REPLACED_S = 300.0
"""The same where Serve puts processes in place of others, several at once on two cores."""

LOADED_S = 900.0
"""The same where they load real engines."""

LISTENS = os.environ.get("POINTSMAN_TEST_LISTENS", "true") != "false"
"""Whether clients reach the ingress replicas without a hop, or through Ray's HAProxy."""


def fleet_of(name: str) -> dict[str, Any]:
    """A fleet file beside these tests, on the way that the run is for."""
    fleet: dict[str, Any] = yaml.safe_load(Path(__file__).with_name(name).read_text())
    fleet["ingress"]["listens"] = LISTENS
    return fleet


def eventually(
    check: Callable[[], Any], within_s: float = PATIENCE_S, every_s: float = 0.05
) -> Any:
    """The first truthy answer of `check`, polled; fails after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(every_s)


def pointsman(*args: str, tenants: Path | None = None) -> Any:
    """Run the console script with --json and return what it printed."""
    command = [str(Path(sys.executable).with_name("pointsman")), *args, "--json"]
    env = dict(os.environ)
    if tenants is not None:
        env["POINTSMAN_TENANTS"] = str(tenants)
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env=env, timeout=120
    )
    assert done.returncode == 0, (done.stderr, done.stdout)
    return json.loads(done.stdout)


def reload(url: str) -> None:
    """Read the files again; an ingress replica that is late is asked once more."""

    def is_done() -> bool:
        try:
            answer = httpx.post(f"{url}/admin/reload", headers=admin_headers(), timeout=60)
        except httpx.HTTPError:
            return False
        return answer.is_success and bool(answer.json()["ok"])

    eventually(is_done, every_s=0.5)


def new_key(tenants: Path, tenant: str, tier: str, url: str) -> dict[str, str]:
    """A new tenant's key as a header, once every ingress replica knows it.

    The command runs in this process: its start would take seconds, for each of many keys.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = cli.main(
            ["tenants", "add", tenant, "--tier", tier, "--file", str(tenants), "--json"]
        )
    assert code == 0
    headers = {"authorization": f"Bearer {json.loads(said.getvalue())['key']}"}
    reload(url)
    with httpx.Client(timeout=60) as http:
        # A tenant of few requests may be told 429 at first: its key is known all the same.
        assert http.get(f"{url}/v1/models", headers=headers).status_code in (200, 429)
    return headers


def chat(text: str, **fields: Any) -> dict[str, Any]:
    """A chat body with one user message."""
    return {"model": "auto", "messages": [{"role": "user", "content": text}], **fields}


def totals(status: dict[str, Any]) -> dict[str, int]:
    """Open work as every part of the deployment counts it."""
    replicas = [r for lane in status["lanes"].values() for r in lane["replicas"]]
    return {
        "ingress": sum(x["requests_in_flight"] for x in status["ingress"]),
        "reserved": sum(x["reserved_tokens"] for x in status["ingress"]),
        "endpoints": sum(r["in_flight"] for r in replicas),
        "engines": int(sum(r["running"] + r["waiting"] for r in replicas)),
    }


def status_of(http: httpx.Client, url: str) -> dict[str, Any]:
    """What the deployment says of itself; {} while the ingress replica that was asked goes."""
    try:
        answer = http.get(f"{url}/status", headers=admin_headers())
        found: dict[str, Any] = answer.json() if answer.is_success else {}
    except (httpx.HTTPError, ValueError):
        return {}
    return found


def running(http: httpx.Client, url: str) -> int:
    """Requests that the engines say they have; one that is busy may not answer in time."""
    status = status_of(http, url)
    return totals(status)["engines"] if status else 0


def replicas_of(http: httpx.Client, url: str, lane: str) -> dict[str, dict[str, Any]]:
    """What each replica of a lane that answers says of itself, by its id."""
    lanes = status_of(http, url).get("lanes", {})
    return {row["replica"]: row for row in lanes[lane]["replicas"]} if lanes else {}


def await_two(http: httpx.Client, url: str, lane: str) -> dict[str, dict[str, Any]]:
    """Both replicas of a lane are there, whatever a test before this one has taken."""

    def both() -> dict[str, dict[str, Any]] | None:
        found = replicas_of(http, url, lane)
        return found if len(found) == 2 else None

    found: dict[str, dict[str, Any]] = eventually(both, within_s=LOADED_S, every_s=0.5)
    return found


def await_two_chat_replicas(http: httpx.Client, url: str) -> dict[str, dict[str, Any]]:
    """Both replicas of the chat lane are there."""
    return await_two(http, url, "chat")


def await_all(http: httpx.Client, url: str, ingresses: int) -> dict[str, Any]:
    """The status, once it names all ingress replicas and all replicas of every lane."""

    def complete() -> dict[str, Any] | None:
        status = status_of(http, url)
        lanes = status.get("lanes", {}).values()
        are_there = all(len(x["replicas"]) == x["replicas_wanted"] for x in lanes)
        return status if status and are_there and len(status["ingress"]) == ingresses else None

    found: dict[str, Any] = eventually(complete, within_s=LOADED_S, every_s=0.5)
    return found


def is_idle(http: httpx.Client, url: str) -> bool:
    """Whether nothing is open anywhere, as everybody says who is there."""
    status = status_of(http, url)
    if not status.get("ingress") or not all(x["replicas"] for x in status["lanes"].values()):
        return False
    return not any(totals(status).values())


def redeploy(folder: Path, fleet: Path, tenants: Path, **args: str) -> None:
    """Deploy again with other arguments, which replaces every replica.

    Args:
        folder: where the configuration is written.
        fleet: the fleet file.
        tenants: the tenants file.
        args: more arguments of the application; `revision` where the files are the same.

    """
    config = serve_config()
    config["applications"][0]["args"] |= {"fleet": str(fleet), "tenants": str(tenants), **args}
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    serve = str(Path(sys.executable).with_name("serve"))
    subprocess.run([serve, "deploy", str(path)], check=True, cwd=ROOT)
