"""A pool of two lanes on one card, in one process."""

import contextlib

import httpx
import pytest

from benchmarks.support.one_process import one_process

FLEET = """
name: pooled
lanes:
  chat: &lane
    model_id: chat-model
    model_source: simulated
    engine: simulated
    accelerator: cpu
    max_model_len: 4096
    cards: pool-a
    simulated:
      ttft_s: 0.0
      itl_s: 0.002
      sleep: {sleep_s: 0.05, wake_s: 0.05, load_s: 0.1, unload_s: 0.05, weights_gib: 2}
  coder: {<<: *lane, model_id: coder-model}
  own: {<<: *lane, model_id: own-model, cards: null}
pools:
  pool-a: {gpus: 1, host_memory_gib: 10, idle_s: 0.2, dwell_s: 0, wait_bound_s: 20}
routing: {default: own}
timeouts: {keepalive_s: 1}
"""

TENANTS = """
local_tenant: local
tiers: {paid: {priority: 0, start_within_s: 15}}
tenants: {local: {tier: paid}}
"""


@pytest.fixture
def pooled(tmp_path):
    @contextlib.asynccontextmanager
    async def start(fleet=FLEET):
        (tmp_path / "fleet.yaml").write_text(fleet)
        (tmp_path / "tenants.yaml").write_text(TENANTS)
        files = tmp_path / "fleet.yaml", tmp_path / "tenants.yaml"
        async with one_process(*files, tmp_path) as found:
            transport = httpx.ASGITransport(found.app, client=("127.0.0.1", 1))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost:8000", timeout=30
            ) as client:
                yield client

    return start
