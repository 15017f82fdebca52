"""An ingress replica over a simulated lane: its own texts become advice, while it serves."""

import asyncio
from pathlib import Path

import httpx
import pytest

from benchmarks.support.one_process import SECRET, one_process
from serve_app.tenancy.local_key import local_admin_key
from tests.warm_profile import warm_profile

FLEET = """
name: advice
lanes:
  chat:
    model_id: small
    model_source: x
    engine: simulated
    accelerator: cpu
    num_cpus: 0.1
    max_model_len: 4096
    engine_args: {max_num_seqs: 32}
    simulated: {profile: PROFILE}
routing: {default: chat}
advice: {period_s: 5, limits: {sessions_25: 0.5}}
"""
TENANTS = """
tiers: {any: {}}
tenants: {acme: {tier: any}}
local_tenant: acme
"""
CHAT = {"max_tokens": 20, "messages": [{"role": "user", "content": "Say hello."}]}


def _samples(rows) -> float:
    return rows["first_token", "chat"]["confidence"]["samples"] if rows else 0


@pytest.mark.slow
async def test_its_own_metrics_become_points_and_rows(tmp_path: Path):
    fleet, tenants = tmp_path / "fleet.yaml", tmp_path / "tenants.yaml"
    fleet.write_text(FLEET.replace("PROFILE", warm_profile(tmp_path)))
    tenants.write_text(TENANTS)
    operator = {"authorization": f"Bearer {local_admin_key(SECRET)}"}
    async with one_process(fleet, tenants, tmp_path / "state") as made:
        transport = httpx.ASGITransport(made.app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            rows = {}
            while not _samples(rows):
                answer = await client.post("/v1/chat/completions", json=CHAT)
                assert answer.status_code == 200
                told = (await client.get("/admin/advice", headers=operator)).json()
                rows = {(row["trigger"], row["subject"]): row for row in told["rows"]}
                await asyncio.sleep(0.2)
            text = (await client.get("/metrics", headers=operator)).text

    assert told["writes"]
    assert rows["kv_cache", "chat"]["value"] is not None
    assert rows["decode_slow", "chat"]["unit"] == "times the profile's step"
    assert rows["sessions_25", "chat"]["limit"] == 0.5
    assert 'pointsman_trigger_firing{ingress="i1",trigger="waiting"} 0.0' in text
    assert 'pointsman_turn_seconds_count{ingress="i1",lane="chat",tier="any"}' in text
    assert (tmp_path / "state" / "advice.db").stat().st_mode & 0o077 == 0
