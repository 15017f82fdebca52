"""Deployments over real engines, one for each way of choosing a replica.

Pointsman's is its own graph; Ray's routers run where Ray documents them, in front of
`LLMServer` behind Ray's `OpenAiIngress` (`benchmarks/peers/ray_engines.py`). Both have the
engines of affinity_real_fleet.yaml and the same HAProxy in front. Tenants are apart in the
prefix cache everywhere: Pointsman salts it for each tenant, and the others are sent the
same as `cache_salt`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.support.deployment import ROOT, URL, deployed, serve_config, serving
from serve_app.tenancy.auth import make_key

FLEET = Path(__file__).with_name("affinity_real_fleet.yaml")
OURS = "Pointsman"
IDEAL = "one engine, summed cache"

# By replica: queries, hits (both tokens) and requests.
Counters = dict[str, dict[str, float]]
_COUNTED = {
    "vllm:prefix_cache_queries_total": "queries",
    "vllm:prefix_cache_hits_total": "hits",
    "vllm:request_success_total": "requests",
}
_SAMPLE = re.compile(r"^(vllm:[a-z_]+)(?:\{([^}]*)\})? ([0-9.eE+-]+)$", re.MULTILINE)
_REPLICA = re.compile(r'\breplica="([^"]*)"')


@dataclass(frozen=True)
class Way:
    """A running deployment.

    Attributes:
        model: what requests call the model.
        replicas: engines, once all have started.
        headers: each tenant's.
        body: what each tenant's requests say besides the conversation.
        counters: reads every engine's counters; not from an event loop.

    """

    model: str
    replicas: int
    headers: list[dict[str, str]]
    body: list[dict[str, Any]]
    counters: Callable[[], Counters]


@contextlib.contextmanager
def pointsman(tenants: int, *, is_summed: bool = False) -> Iterator[Way]:
    """Pointsman; `is_summed`: one replica with the cache and the slots of both."""
    fleet = yaml.safe_load(FLEET.read_text())
    lane = fleet["lanes"]["chat"]
    if is_summed:
        replicas, lane["replicas"] = lane["replicas"], 1
        for name in ("kv_cache_memory_bytes", "max_num_seqs"):
            lane["engine_args"][name] *= replicas
    keys, entries = zip(*(make_key() for _ in range(tenants)), strict=True)
    config = {
        "tiers": {"open": {}},
        "tenants": {
            f"tenant-{number}": {"tier": "open", "keys": [entry.model_dump(exclude_none=True)]}
            for number, entry in enumerate(entries)
        },
        # Without a key, from this machine: for the metrics.
        "local_tenant": "tenant-0",
    }
    with tempfile.TemporaryDirectory() as folder:
        fleet_file, tenants_file = Path(folder) / "fleet.yaml", Path(folder) / "tenants.yaml"
        fleet_file.write_text(yaml.safe_dump(fleet))
        tenants_file.write_text(yaml.safe_dump(config))
        with deployed(ready_s=600, fleet=str(fleet_file), tenants=str(tenants_file)):
            yield Way(
                "chat",
                lane["replicas"],
                headers=[{"authorization": f"Bearer {key}"} for key in keys],
                body=[{}] * tenants,
                counters=_pointsman_counters,
            )


def ray_router(path: str) -> Callable[[int], AbstractContextManager[Way]]:
    """Ray's ingress over the same engines, with the request router of this import path."""

    @contextlib.contextmanager
    def start(tenants: int) -> Iterator[Way]:
        config = serve_config()
        config["applications"] = [
            {
                "name": "ray-engines",
                "route_prefix": "/",
                "import_path": "benchmarks.peers.ray_engines:build",
                "args": {"fleet": str(FLEET), "router": path},
            }
        ]
        # Replicas import the module by its name. Ray's batching of streams is off: it
        # would be all there is to see of the first token.
        env = {"PYTHONPATH": str(ROOT), "RAYLLM_MODEL_RESPONSE_BATCH_TIMEOUT_MS": "0"}
        lane = yaml.safe_load(FLEET.read_text())["lanes"]["chat"]
        model = lane["model_id"]
        with serving(config, "/v1/models", 600, env=env), _ray_counters(model) as counters:
            yield Way(
                model,
                lane["replicas"],
                headers=[{}] * tenants,
                body=[{"cache_salt": f"tenant-{number}"} for number in range(tenants)],
                counters=counters,
            )

    return start


def _pointsman_counters() -> Counters:
    with urllib.request.urlopen(f"{URL}/metrics", timeout=10) as response:
        text = response.read().decode()
    found: Counters = {}
    for name, labels, value in _SAMPLE.findall(text):
        replica = _REPLICA.search(labels)
        if name in _COUNTED and replica is not None:
            _add(found.setdefault(replica[1], {}), name, value)
    return found


@contextlib.contextmanager
def _ray_counters(model: str) -> Iterator[Callable[[], Counters]]:
    import ray
    from ray import serve

    ray.init(address="auto", log_to_driver=False, logging_level=logging.WARNING)
    handle = serve.get_deployment_handle(f"CountedServer:{model}", "ray-engines")
    # With Serve's throughput settings a handle belongs to the event loop of its first use,
    # and hears of replicas only while that runs.
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def ask() -> list[dict[str, str]]:
        found: list[dict[str, str]] = await handle.broadcast("engine_metrics").results_async(
            timeout_s=60
        )
        return found

    def read() -> Counters:
        found: Counters = {}
        for one in asyncio.run_coroutine_threadsafe(ask(), loop).result():
            of_replica = found.setdefault(one["replica"], {})
            for name, _, value in _SAMPLE.findall(one["text"]):
                if name in _COUNTED:
                    _add(of_replica, name, value)
        return found

    try:
        yield read
    finally:
        ray.shutdown()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _add(counted: dict[str, float], name: str, value: str) -> None:
    key = _COUNTED[name]
    counted[key] = counted.get(key, 0.0) + float(value)


WAYS: dict[str, Callable[[int], AbstractContextManager[Way]]] = {
    IDEAL: lambda tenants: pointsman(tenants, is_summed=True),
    OURS: pointsman,
    "Ray PrefixCacheAffinityRouter": ray_router(
        "ray.serve.llm.request_router.PrefixCacheAffinityRouter"
    ),
    "Ray ConsistentHashRouter": ray_router(
        "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
    ),
    "power of two choices": ray_router(
        "ray.serve._private.request_router.pow_2_router.PowerOfTwoChoicesRequestRouter"
    ),
    "round robin": ray_router("ray.serve.experimental.round_robin_router.RoundRobinRouter"),
}
