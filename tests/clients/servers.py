"""The servers that clients are run against: the scripted engine, alone or behind Pointsman."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import yaml

from benchmarks.support.deployment import ROOT, deployed
from tests.e2e.support import await_all

TASK = Path(__file__).parent / "task.yaml"
WINDOW_TOKENS = 200_000
"""Claude Code begins with 25,000 tokens of this engine's, and asks for 32,000 more."""

_TENANTS = """
tiers:
  open: {agents: {turn_depth: null, task_depth: null}}
tenants:
  local: {tier: open}
local_tenant: local
"""


@contextlib.contextmanager
def engine(script: Path = TASK) -> Iterator[tuple[int, str]]:
    """A scripted engine by itself; yields its port and the model's name."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "simulator.http.serve", "--script", str(script)]
    process = subprocess.Popen([*command, "--port", str(port)], cwd=ROOT)
    try:
        _await(f"http://127.0.0.1:{port}/health", process)
        yield port, "simulated"
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def pointsman(script: Path = TASK, model: str = "auto") -> Iterator[tuple[int, str]]:
    """A deployment of two lanes with two scripted engines each; yields port and model."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile.yaml"
        profile.write_text(yaml.safe_dump(_profile(script)))
        lane = {
            "model_source": "simulated",
            "engine": "simulated",
            "accelerator": "cpu",
            "num_cpus": 0.1,
            "replicas": 2,
            "max_model_len": WINDOW_TOKENS,
            "simulated": {"profile": str(profile)},
        }
        fleet = {
            "name": "clients",
            "note": "Scripted engines; nothing here is a model.",
            "lanes": {
                "chat": lane | {"model_id": "scripted-chat"},
                "quality": lane | {"model_id": "scripted-quality"},
            },
            "routing": {"default": "chat", "complex": "quality"},
            "ingress": {"replicas": 1, "num_cpus": 0.1},
        }
        fleet_file, tenants_file = Path(folder) / "fleet.yaml", Path(folder) / "tenants.yaml"
        fleet_file.write_text(yaml.safe_dump(fleet))
        tenants_file.write_text(_TENANTS)
        with (
            deployed(fleet=str(fleet_file), tenants=str(tenants_file)) as url,
            httpx.Client(timeout=60) as http,
        ):
            await_all(http, url, ingresses=1)
            yield 8000, model


def _profile(script: Path) -> dict[str, object]:
    """A card that nobody waits for."""
    return {
        "name": "scripted",
        "source": "made up, for clients",
        "timing": {"decode_step_ms": {1: 1.0}, "prefill_ms_per_token": 0.001},
        "scheduling": {"max_num_seqs": 8, "num_gpu_blocks": 100_000},
        "script": str(script),
    }


def _await(url: str, process: subprocess.Popen[bytes], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline and process.poll() is None:
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(url, timeout=2),
        ):
            return
        time.sleep(0.1)
    raise RuntimeError("the engine did not start")
