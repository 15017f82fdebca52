"""Every query of every panel, and every recorded series, has data in a real Prometheus."""

import asyncio
import contextlib
import socket
from pathlib import Path

import httpx
import pytest
import uvicorn
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.support.one_process import SECRET, one_process
from serve_app.config.settings import fleet_path, load_fleet
from serve_app.observe.exported import exported
from serve_app.observe.table import Needs
from serve_app.tenancy.local_key import local_admin_key
from tests.panels import asked_of, has_data, prometheus, without_data
from tests.unit.serve_app.observe import recorded
from tests.warm_profile import warm_profile

ROOT = Path(__file__).parents[4]
SIMULATED = ROOT / "tests" / "e2e" / "simulated_fleet.yaml"
TENANTS = """
tiers: {open: {}}
tenants: {acme: {tier: open}}
local_tenant: acme
"""
CHAT = {"max_tokens": 40, "stream": True}
AT_ONCE = 5
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


@pytest.fixture
def shipped():
    return load_fleet(fleet_path("rtx4090"))


def test_every_query_has_data_once_all_has_happened(shipped, tmp_path):
    """Of the recorded text: names, labels and ways of joining are right in every query."""
    asked = [x for x in asked_of(shipped) if "ALERTS" not in x.expr]
    with recorded.served() as target, prometheus(shipped, ROOT, target, tmp_path) as client:
        missing = without_data(client, asked)
        # What is asked for in vain is found out: a name, and a label, that are not there.
        wrong = ("pointsman_request_total", 'pointsman_requests_total{line="chat"}')
        found = [has_data(client, expr) for expr in wrong]

    assert missing == []
    assert found == [False, False]


@contextlib.asynccontextmanager
async def listening(app):
    """Serve it on loopback; yields host and port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


async def talk(client, enough):
    """Chats of two sessions in each lane, and with tools, over and over."""
    number = 0
    while not enough.is_set():
        number += 1
        said = [{"role": "user", "content": f"Say hello. {number % 2} " * 30}]
        for more in ({"model": "chat"}, {"model": "quality"}, {}, {"tools": TOOLS}):
            body = {**CHAT, **more, "messages": said}
            answer = await client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text
        await asyncio.sleep(0)


def fleet_with_tools(folder):
    fleet = yaml.safe_load(SIMULATED.read_text())
    fleet["lanes"]["quality"]["simulated"]["profile"] = warm_profile(folder)
    return {**fleet, "routing": {**fleet["routing"], "tools": "quality"}, "slo": {}}


def ours(text):
    """Names of the families in a text that Pointsman counts."""
    found = {family.name for family in text_string_to_metric_families(text)}
    return {x for x in found if x.startswith("pointsman_") and not x.endswith("_created")}


@pytest.mark.slow
async def test_what_needs_only_traffic_has_data_of_a_deployment(shipped, tmp_path):
    """An ingress replica with simulated engines, asked with an admin key from a file.

    What it exports is what `exported` finds: a metric object of a new owner is added there.
    """
    (tmp_path / "tenants.yaml").write_text(TENANTS)
    (tmp_path / "fleet.yaml").write_text(yaml.safe_dump(fleet_with_tools(tmp_path)))
    key = tmp_path / "key"
    key.write_text(local_admin_key(SECRET))
    admin = {"x-api-key": key.read_text()}
    asked = [x for x in asked_of(shipped) if x.needs is Needs.TRAFFIC]
    made = one_process(tmp_path / "fleet.yaml", tmp_path / "tenants.yaml", tmp_path / "state")
    enough = asyncio.Event()
    async with (
        made as process,
        listening(process.app) as target,
        httpx.AsyncClient(base_url=f"http://{target}", timeout=30) as client,
        asyncio.TaskGroup() as group,
    ):
        # An error budget is told from the twentieth request of a lane on.
        for _ in range(AT_ONCE):
            group.create_task(talk(client, enough))
        with prometheus(shipped, ROOT, target, tmp_path / "observe", key) as prom:
            missing = await asyncio.to_thread(without_data, prom, asked)
        enough.set()
        served = (await client.get("/metrics", headers=admin)).text

    assert missing == []
    assert ours(served) <= set(exported())
