"""An ingress replica as a deployment builds it, its spans at a collector when it has ended."""

from __future__ import annotations

import httpx
import yaml

from benchmarks.support.one_process import one_process
from tests.unit.serve_app.test_outward import CHAT, FLEET, TENANTS
from tests.unit.serve_app.tracing.collector import HttpCollector, attributes


async def test_a_replica_sends_what_is_open_when_it_ends(tmp_path):
    tenants, fleet = tmp_path / "tenants.yaml", tmp_path / "fleet.yaml"
    tenants.write_text(TENANTS)
    with HttpCollector() as collector:
        config = yaml.safe_load(FLEET.read_text())
        fleet.write_text(yaml.safe_dump({**config, "tracing": {"endpoint": collector.endpoint}}))
        async with one_process(fleet, tenants, tmp_path / "state") as made:
            transport = httpx.ASGITransport(made.app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                url = "http://localhost/v1/chat/completions"
                answer = await client.post(url, json={**CHAT, "stream": True})

    assert answer.status_code == 200
    by_name = {x.name.split()[0]: x for x in collector.spans}
    assert set(by_name) == {"chat", "invoke_agent", "invoke_workflow"}
    said = attributes(by_name["chat"])
    assert said["gen_ai.usage.output_tokens"] == 5
    assert said["pointsman.lane"] == "chat" and said["pointsman.replica"] == "r1"
    assert said["gen_ai.response.time_to_first_chunk"] > 0
    assert collector.resource["service.instance.id"] == "i1"
