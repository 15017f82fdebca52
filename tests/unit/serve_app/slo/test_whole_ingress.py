"""An ingress replica as a deployment makes it: objectives from its fleet file to its status."""

import contextlib
from pathlib import Path

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.support.one_process import SECRET, one_process
from serve_app.slo.standing import GAUGES
from serve_app.tenancy.local_key import local_admin_key

FLEET = Path(__file__).parents[3] / "e2e" / "simulated_fleet.yaml"
TENANTS = {
    "tiers": {"small": {}},
    "tenants": {"acme": {"tier": "small"}},
    "local_tenant": "acme",
}
CHAT = {"max_tokens": 5, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}


@contextlib.asynccontextmanager
async def deployed(folder, slo):
    """Its operator's client."""
    fleet, tenants = folder / "fleet.yaml", folder / "tenants.yaml"
    text = {**yaml.safe_load(FLEET.read_text()), "slo": slo}
    fleet.write_text(yaml.safe_dump(text))
    tenants.write_text(yaml.safe_dump(TENANTS))
    headers = {"authorization": f"Bearer {local_admin_key(SECRET)}"}
    async with one_process(fleet, tenants, folder / "state") as made:
        transport = httpx.ASGITransport(made.app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as client:
            yield client


async def rows(client) -> dict:
    found = (await client.get("/status")).json()["slo"]
    return {row["objective"]: row for row in found}


async def test_objectives_live_through_a_new_ingress_and_are_read_anew(tmp_path):
    """Six streams miss what no engine holds; the next ingress knows of them still."""
    slo = {"ttft_p95_s": 0.001, "tiers": {"smal": {"answer_p95_s": 9}}}
    async with deployed(tmp_path, slo) as client:
        for _ in range(6):
            await client.post("/v1/chat/completions", json=CHAT)
        status = (await client.get("/status")).json()
        text = (await client.get("/metrics")).text

    assert status["slo"][0]["objective"] == "ttft"
    assert (status["slo"][0]["verdict"], status["slo"][0]["bad"]) == ("burning", 6)
    assert any("ttft of lane chat, tier small burns (page)" in x for x in status["warnings"])
    assert any("did you mean 'small'?" in x for x in status["warnings"])
    families = {x.name: x for x in text_string_to_metric_families(text)}
    assert set(GAUGES) <= set(families)

    async with deployed(tmp_path, slo) as client:
        # It looks once at what others left, when it begins.
        while not (kept := await rows(client)):
            pass
        assert kept["ttft"]["bad"] == 6
        fleet = tmp_path / "fleet.yaml"
        text = {**yaml.safe_load(fleet.read_text()), "slo": {"ttft_p95_s": None}}
        fleet.write_text(yaml.safe_dump(text))
        assert (await client.post("/admin/reload")).json()["replicas"][0]["ok"]

        assert set(await rows(client)) == {"answer", "failures"}
