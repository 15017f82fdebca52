"""The registry in a whole ingress replica, over a simulated lane, without Ray."""

from pathlib import Path

import httpx

from benchmarks.support.one_process import SECRET, one_process
from serve_app.registry.tool_set import CHAT
from serve_app.tenancy.local_key import local_admin_key
from tests.unit.serve_app.registry.tool_files import tool, write

FLEET = Path(__file__).parents[3] / "e2e" / "simulated_fleet.yaml"
TENANTS = "tiers: {small: {}}\ntenants: {acme: {tier: small}}\nlocal_tenant: acme\n"
OPERATOR = {"authorization": f"Bearer {local_admin_key(SECRET)}"}
LONG = {"role": "system", "content": "You are the assistant of a shop. " * 30}


async def version_of(client, session) -> str:
    body = {
        "model": "chat",
        "max_tokens": 2,
        "messages": [LONG, {"role": "user", "content": "Who is Ada?"}],
        "tools": {"registry": "crm"},
    }
    answer = await client.post(CHAT, json=body, headers={"x-session-id": session})
    assert answer.status_code == 200, answer.text
    return answer.headers["x-pointsman-tools"]


async def test_files_are_published_promoted_after_a_warm_up_and_told_of_when_edited(
    tmp_path, monkeypatch
):
    """By the deployment's own routes, and calls to its replicas."""
    folder = tmp_path / "tools"
    monkeypatch.setenv("POINTSMAN_TOOLS", str(folder))
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text(TENANTS)
    write(folder, version=7, tools=[tool("find_person")])
    async with one_process(FLEET, tenants, tmp_path / "state") as made:
        transport = httpx.ASGITransport(made.app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            reloaded = await client.post("/admin/reload", headers=OPERATOR)
            assert reloaded.json()["replicas"][0] == {"ok": True}, reloaded.text
            assert await version_of(client, "a") == "crm@7"
            write(folder, version=8, tools=[tool("find_person"), tool("call_back")])

            moved = await client.post(
                "/admin/tools/promote", json={"set": "crm@8"}, headers=OPERATOR
            )

            told = moved.json()
            assert told["ok"], told
            assert told["held_sessions"] == 1
            assert [x["read"] for x in told["warmed"]] == [1]
            assert [await version_of(client, x) for x in "ab"] == ["crm@7", "crm@8"]
            write(folder, version=8, tools=[tool("edited")])
            refused = (await client.post("/admin/reload", headers=OPERATOR)).json()
            assert not refused["ok"]
            assert "crm@8" in refused["replicas"][0]["error"]
            status = (await client.get("/status", headers=OPERATOR)).json()
            assert any("crm@8" in warning for warning in status["warnings"])
