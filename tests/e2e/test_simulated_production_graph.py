"""The production fleet's whole graph on logical GPUs, over simulated engines.

No card and no model: what is shown is that every lane that is on deploys with
the resources its file asks for, and that each role routes to its lane. Requests come through
Ray's HAProxy, which the other deployments do without: no run leaves one of the two ways out.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from websockets.sync.client import connect

from benchmarks.support.deployment import ROOT, deployed
from serve_app.config.settings import load_fleet
from serve_app.observe.table import Needs
from serve_app.tenancy.local_key import admin_key_path
from tests.e2e.streams import CHAT, COMPLETIONS, MESSAGES, RESPONSES, Stream, begin, form
from tests.e2e.support import (
    PATIENCE_S,
    await_all,
    chat,
    eventually,
    is_idle,
    new_key,
    status_of,
)
from tests.panels import Asked, asked_of, prometheus, without_data

CARDS = 4
FILE = ROOT / "configs" / "fleets" / "rtx4090.yaml"
FLEET = load_fleet(FILE)


@pytest.fixture(scope="module")
def production(tenants_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The rtx4090 fleet on four logical cards, behind HAProxy."""
    content = yaml.safe_load(FILE.read_text())
    content["ingress"] = {**content.get("ingress", {}), "listens": False}
    fleet = tmp_path_factory.mktemp("production") / "rtx4090.yaml"
    fleet.write_text(yaml.safe_dump(content))
    options = [
        "--num-cpus=16",
        f"--num-gpus={CARDS}",
        '--resources={"accelerator_type:GeForce-RTX-4090": 4}',
    ]
    with deployed(
        ray_start=options, fleet=str(fleet), engine="simulated", tenants=str(tenants_file)
    ) as url:
        yield url


def test_every_lane_that_is_on_deploys(production: str, http: httpx.Client) -> None:
    """`/ready` and `/status` name no lane as missing; the second ingress follows."""

    status = await_all(http, production, ingresses=FLEET.ingress.replicas)

    assert set(status["lanes"]) == set(FLEET.enabled_lanes)


def test_each_role_routes_to_its_lane(production: str, http: httpx.Client) -> None:
    """Default, tools and long context; every enabled lane can be pinned."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    bodies = {
        "default": chat("hello", max_tokens=1),
        "tools": chat("hello", max_tokens=1, tools=tools),
        "long_context": chat("word " * 12_000, max_tokens=1),
    }

    lanes = {
        role: http.post(f"{production}/v1/chat/completions", json=body).headers["x-pointsman-lane"]
        for role, body in bodies.items()
    }
    pinned = [
        http.post(
            f"{production}/v1/chat/completions", json=chat("x", max_tokens=1) | {"model": name}
        ).headers["x-pointsman-lane"]
        for name in FLEET.enabled_lanes
    ]

    assert lanes == {role: getattr(FLEET.routing, role) for role in bodies}
    assert pinned == list(FLEET.enabled_lanes)


def test_streams_sockets_ceilings_and_disconnects_behind_haproxy(
    production: str, tenants_file: Path, http: httpx.Client
) -> None:
    """What other modules show at length for the ingress replicas' own listeners."""
    paths = (CHAT, COMPLETIONS, MESSAGES, RESPONSES)
    streams = [Stream(production, path, form(path, "tell", 40)) for path in paths]
    begin(streams)
    with connect(f"{production.replace('http', 'ws')}/v1/chat/ws") as ws:
        ws.send(json.dumps({"id": "a", "type": "chat", "body": chat("hello", max_tokens=10)}))
        kinds = [json.loads(ws.recv(60))["type"]]
        while kinds[-1] == "chunk":
            kinds.append(json.loads(ws.recv(60))["type"])
    hasty = new_key(tenants_file, "hasty-behind", "two_a_minute", production)
    models = f"{production}/v1/models"
    eventually(lambda: http.get(models, headers=hasty).status_code == 429)
    endless = form(CHAT, "tell all", 3000)
    with http.stream("POST", f"{production}{CHAT}", json=endless) as response:
        next(response.iter_text())
    for stream in streams:
        stream.join(PATIENCE_S)

    assert [row["listener"] for row in status_of(http, production)["ingress"]] == [None] * 2
    assert all(x.is_whole and len(x.words) == 40 for x in streams)
    assert kinds[-1] == "done"
    eventually(lambda: is_idle(http, production))


def test_every_panel_and_recorded_series_has_data(
    production: str, tenants_file: Path, tmp_path: Path
) -> None:
    """A real Prometheus scrapes the fleet while it is used; what needs a card is left out.

    Someone is refused meanwhile, so that a panel of refusals has them.
    """
    asked = [x for x in asked_of(FLEET) if x.needs is Needs.TRAFFIC]
    refused = [x for x in asked_of(FLEET) if x.place == "tenant: Refusals"]
    guest = new_key(tenants_file, "guest", "two_a_minute", production)
    enough = threading.Event()
    # An error budget is told from the twentieth request of a lane on: five ask at once.
    users = [
        threading.Thread(target=use, args=(production, enough, headers))
        for headers in ({}, {}, {}, {}, {}, guest)
    ]
    for user in users:
        user.start()
    try:
        target = production.removeprefix("http://")
        with prometheus(FLEET, ROOT, target, tmp_path, admin_key_path()) as client:
            missing = without_data(
                client, [*asked, *refused, Asked("up", "up == 1", Needs.TRAFFIC)]
            )
    finally:
        enough.set()
        for user in users:
            user.join()

    assert missing == []


def use(url: str, enough: threading.Event, headers: dict[str, str]) -> None:
    """Ask each role's lane, over and over; the streams are long enough to have a pace."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    with httpx.Client(timeout=60, headers=headers) as http:
        while not enough.is_set():
            for more in ({}, {"tools": tools}, {"model": "quality"}, {"model": "free"}):
                body = {**chat("Say hello. " * 30, max_tokens=40, stream=True), **more}
                http.post(f"{url}/v1/chat/completions", json=body)
