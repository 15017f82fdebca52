"""The production fleet's whole graph on logical GPUs, over simulated engines.

No card and no model: what is shown is that every lane that is on deploys with
the resources its file asks for, and that each role routes to its lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.support.deployment import ROOT, deployed
from serve_app.config.settings import load_fleet
from tests.e2e.support import await_all, chat

CARDS = 4
FLEET = load_fleet(ROOT / "configs" / "fleets" / "rtx4090.yaml")


@pytest.fixture(scope="module")
def production(tenants_file: Path) -> Iterator[str]:
    """The rtx4090 fleet on four logical cards."""
    options = [
        "--num-cpus=16",
        f"--num-gpus={CARDS}",
        '--resources={"accelerator_type:GeForce-RTX-4090": 4}',
    ]
    with deployed(
        ray_start=options, fleet="rtx4090", engine="simulated", tenants=str(tenants_file)
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
