"""Ways in to the same simulated engine: what `make bench-overhead` puts side by side.

Each way is started alone, measured and ended. The engine is `simulator`'s with fixed
TTFT and ITL: on a port of its own for the gateways that talk HTTP to it, inside the
deployment for Pointsman and for Ray's ingress.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

from benchmarks.support.deployment import ROOT, deployed, pids_of, stop_everything
from benchmarks.support.processes import launched

MODEL = "simulated-chat"
HAPROXY = "haproxy -db"
ENGINE_PORT, GATEWAY_PORT, METRICS_PORT = 18400, 18410, 18420
PEERS = ROOT / ".venv-peers/bin"

_RAY_DAEMONS = (
    "gcs_server",
    "raylet/raylet",
    "/dashboard/",
    "monitor.py",
    "ray::",
    "ray-dashboard",
)


@dataclass(frozen=True)
class Timing:
    """The engine's fixed times in seconds."""

    ttft_s: float = 0.02
    itl_s: float = 0.05
    in_step: bool = True


Pids = Callable[[], list[int]]


@dataclass
class Way:
    """One way in, running.

    Attributes:
        path: processes that a request passes through before the engine, looked up
            when asked: HAProxy starts a new process whenever its targets change.
        tree: those and whatever else the gateway keeps running.

    """

    name: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    model: str = MODEL
    path: Pids = list
    tree: Pids = list
    engine: Pids = list

    def settle(self, quiet_s: float = 3, within_s: float = 60) -> None:
        """Wait until no process of the path has come or gone for a while."""
        deadline = time.monotonic() + within_s
        seen, since = self.path(), time.monotonic()
        while time.monotonic() - since < quiet_s:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: its processes keep changing")
            time.sleep(0.25)
            if (now := self.path()) != seen:
                seen, since = now, time.monotonic()


Start = Callable[[Timing], AbstractContextManager[Way]]


@contextlib.contextmanager
def engine(timing: Timing) -> Iterator[Way]:
    """The engine alone, on a port: what every gateway is compared with."""
    command = [str(Path(sys.executable).with_name("pointsman")), "simulate", "serve"]
    command += ["--ttft-s", str(timing.ttft_s), "--itl-s", str(timing.itl_s)]
    command += ["--model-id", MODEL, "--port", str(ENGINE_PORT)]
    command += [] if timing.in_step else ["--out-of-step"]
    with _process(command, f"http://127.0.0.1:{ENGINE_PORT}/health") as pids:
        yield Way("direct", f"http://127.0.0.1:{ENGINE_PORT}", engine=lambda: pids)


@contextlib.contextmanager
def pointsman(timing: Timing) -> Iterator[Way]:
    with tempfile.TemporaryDirectory() as folder:
        fleet = yaml.safe_load((ROOT / "benchmarks/overhead_fleet.yaml").read_text())
        for lane in fleet["lanes"].values():
            lane["simulated"] = asdict(timing)
        path = Path(folder) / "fleet.yaml"
        path.write_text(yaml.safe_dump(fleet))
        tenants = str(ROOT / "benchmarks/overhead_tenants.yaml")
        with deployed(fleet=str(path), tenants=tenants) as url:
            lane, ingress = (f"ray::ServeReplica:pointsman:{x}" for x in ("lane", "ingress"))
            yield Way(
                "pointsman",
                url,
                model="auto",
                path=lambda: [*pids_of(ingress), *pids_of(HAPROXY)],
                tree=lambda: _ray_tree(lane),
                engine=lambda: pids_of(lane),
            )


def ray_ingress(name: str, env: dict[str, str | None]) -> Start:
    """Ray's own OpenAI ingress over the same simulator behind its `LLMEngine`."""

    @contextlib.contextmanager
    def start(timing: Timing) -> Iterator[Way]:
        stop_everything()
        command = [sys.executable, "-m", "benchmarks.peers.ray_ingress", "--port", "8000"]
        command += ["--ttft-s", str(timing.ttft_s), "--itl-s", str(timing.itl_s)]
        command += [] if timing.in_step else ["--out-of-step"]
        try:
            with _process(command, "http://127.0.0.1:8000/v1/models", env, within_s=180):
                _first_answer("http://127.0.0.1:8000", {})
                front = HAPROXY if pids_of(HAPROXY) else "ray::ProxyActor"
                yield Way(
                    name,
                    "http://127.0.0.1:8000",
                    path=lambda: [*pids_of("ray-ingress:OpenAiIngress"), *pids_of(front)],
                    tree=lambda: _ray_tree("SimulatedLLMServer"),
                    engine=lambda: pids_of("SimulatedLLMServer"),
                )
        finally:
            stop_everything()

    return start


@contextlib.contextmanager
def serve_relay(timing: Timing) -> Iterator[Way]:
    """HAProxy, Serve and one hop that does nothing: the floor under any router on Serve."""
    stop_everything()
    url = "http://127.0.0.1:8000"
    command = [sys.executable, "-m", "benchmarks.peers.serve_relay", "--port", "8000"]
    try:
        with (
            engine(timing) as behind,
            _process([*command, "--engine", behind.url], f"{url}/", _FAST, within_s=180),
        ):
            _first_answer(url, {})
            yield Way(
                "serve-relay",
                url,
                path=lambda: [*pids_of("ray::ServeReplica:serve-relay"), *pids_of(HAPROXY)],
                tree=lambda: _ray_tree("no engine in it"),
                engine=behind.engine,
            )
    finally:
        stop_everything()


def _ray_tree(engine_name: str) -> list[int]:
    """Every process of a Ray deployment but the engines."""
    pids = {pid for name in (*_RAY_DAEMONS, HAPROXY) for pid in pids_of(name)}
    return sorted(pids - set(pids_of(engine_name)))


@contextlib.contextmanager
def litellm(timing: Timing) -> Iterator[Way]:
    with engine(timing) as behind, litellm_before(behind) as way:
        yield way


@contextlib.contextmanager
def litellm_before(behind: Way) -> Iterator[Way]:
    """LiteLLM's proxy by its production page: one uvicorn worker, nothing logged."""
    key = f"sk-{secrets.token_hex(16)}"
    upstream = f"http://127.0.0.1:{ENGINE_PORT}/v1"
    config = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_base": upstream,
                    "api_key": "none",
                },
            }
        ],
        "general_settings": {"disable_spend_logs": True, "disable_error_logs": True},
        "litellm_settings": {"telemetry": False, "set_verbose": False, "num_retries": 0},
        "router_settings": {"routing_strategy": "simple-shuffle", "num_retries": 0},
    }
    env: dict[str, str | None] = {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "LITELLM_TELEMETRY": "False",
        "DISABLE_ADMIN_UI": "True",
        "NO_DOCS": "True",
        "HF_HUB_OFFLINE": "1",
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "litellm.yaml"
        path.write_text(yaml.safe_dump(config))
        command = [str(PEERS / "litellm"), "--config", str(path), "--host", "127.0.0.1"]
        command += ["--port", str(GATEWAY_PORT), "--num_workers", "1"]
        ready = f"http://127.0.0.1:{GATEWAY_PORT}/health/readiness"
        with _process(command, ready, env) as pids:
            headers = {"authorization": f"Bearer {key}"}
            yield _gateway("litellm", pids, headers, behind)


def router(name: str, command: list[str]) -> Start:
    """One of the Rust routers, before one worker."""

    @contextlib.contextmanager
    def start(timing: Timing) -> Iterator[Way]:
        with engine(timing) as behind:
            full = [str(PEERS / command[0]), *command[1:]]
            full += ["--host", "127.0.0.1", "--port", str(GATEWAY_PORT)]
            full += ["--worker-urls", behind.url, "--worker-startup-check-interval", "1"]
            full += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(METRICS_PORT)]
            with _process(full, f"http://127.0.0.1:{GATEWAY_PORT}/readiness") as pids:
                yield _gateway(name, pids, {}, behind)

    return start


def _gateway(name: str, pids: list[int], headers: dict[str, str], behind: Way) -> Way:
    url = f"http://127.0.0.1:{GATEWAY_PORT}"
    _first_answer(url, headers)
    return Way(name, url, headers, path=lambda: pids, tree=lambda: pids, engine=behind.engine)


_HAPROXY_ON = ("RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED")
_PLAIN: dict[str, str | None] = dict.fromkeys(_HAPROXY_ON)
_FAST: dict[str, str | None] = dict.fromkeys(_HAPROXY_ON, "1")
_UNBATCHED: dict[str, str | None] = {**_FAST, "RAYLLM_MODEL_RESPONSE_BATCH_TIMEOUT_MS": "0"}

WAYS: dict[str, Start] = {
    "direct": engine,
    "pointsman": pointsman,
    "serve-relay": serve_relay,
    "ray": ray_ingress("ray", _PLAIN),
    "ray-throughput": ray_ingress("ray-throughput", _FAST),
    "ray-unbatched": ray_ingress("ray-unbatched", _UNBATCHED),
    "litellm": litellm,
    # With one worker its default policy only asks the engine to tokenize twice.
    "vllm-router": router(
        "vllm-router", ["vllm-router", "--policy", "round_robin", "--log-level", "error"]
    ),
    "smg": router(
        "smg",
        ["python", "-m", "smg", "launch", "--policy", "cache_aware", "--log-level", "warn",
         "--disable-tokenizer-autoload", "--shutdown-grace-period-secs", "1"],
    ),
    "sglang-router": router(
        "sglang-router",
        ["python", "-m", "sglang_router", "launch", "--policy", "cache_aware",
         "--log-level", "warn"],
    ),
}  # fmt: skip


@contextlib.contextmanager
def _process(
    command: list[str],
    ready: str,
    env: dict[str, str | None] | None = None,
    within_s: float = 60,
) -> Iterator[list[int]]:
    """A process and its children, from ready to ended; yields their pids."""
    full = {**os.environ, **{k: v for k, v in (env or {}).items() if v is not None}}
    for name, value in (env or {}).items():
        if value is None:
            full.pop(name, None)
    with launched(command, full, lambda: _answers(ready), within_s) as process:
        yield _descendants(process.pid)


def _answers(url: str) -> bool:
    with (
        contextlib.suppress(urllib.error.URLError, OSError),
        urllib.request.urlopen(url, timeout=2),
    ):
        return True
    return False


def _first_answer(url: str, headers: dict[str, str], within_s: float = 60) -> None:
    """Ask until an answer comes: readiness of the gateway is not yet the engine's."""
    body = b'{"model":"%s","max_tokens":2,"messages":[{"role":"user","content":"x"}]}'
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        body % MODEL.encode(),
        {"content-type": "application/json", **headers},
    )
    deadline = time.monotonic() + within_s
    while True:
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def _descendants(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        path = Path(f"/proc/{parent}/task/{parent}/children")
        with contextlib.suppress(OSError):
            found += map(int, path.read_text().split())
    return found
