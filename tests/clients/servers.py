"""What clients are run against: a scripted engine, alone or behind Pointsman; an embedded model."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import yaml

from benchmarks.support.deployment import ROOT, deployed
from tests.e2e.support import await_all

TASK = Path(__file__).parent / "task.yaml"
WINDOW_TOKENS = 200_000
"""Claude Code begins with 25,000 tokens of this engine's, and asks for 32,000 more."""

SLOW_TOKEN_MS = 12.0

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
    with _deployed(_profile(script), 2, ("chat", "quality")):
        yield 8000, model


@contextlib.contextmanager
def losing(script: Path = TASK, replicas: int = 2) -> Iterator[tuple[int, str]]:
    """A lane whose replicas speak slowly enough to be killed in the middle of a word."""
    timing = {"decode_step_ms": {1: SLOW_TOKEN_MS}, "prefill_ms_per_token": 0.001}
    with _deployed(_profile(script) | {"timing": timing}, replicas, ("chat",)):
        yield 8000, "auto"


@contextlib.contextmanager
def embedded(model: str = "auto") -> Iterator[tuple[int, str]]:
    """What `make serve` serves without a GPU: vLLM with the embedded model."""
    with deployed(ready_s=900):
        yield 8000, model


@contextlib.contextmanager
def _deployed(profile: dict[str, object], replicas: int, lanes: Sequence[str]) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        profile_file = Path(folder) / "profile.yaml"
        profile_file.write_text(yaml.safe_dump(profile))
        lane = {
            "model_source": "simulated",
            "engine": "simulated",
            "accelerator": "cpu",
            "num_cpus": 0.1,
            "replicas": replicas,
            "max_model_len": WINDOW_TOKENS,
            "simulated": {"profile": str(profile_file)},
        }
        fleet = {
            "name": "clients",
            "note": "Scripted engines; nothing here is a model.",
            "lanes": {name: lane | {"model_id": f"scripted-{name}"} for name in lanes},
            "routing": {"default": lanes[0], "complex": lanes[1] if lanes[1:] else None},
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
            yield


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
