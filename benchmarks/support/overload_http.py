"""The threefold overload over HTTP: real gateways before one simulated engine, in turn.

What each way can express of tiers:

- `fifo`: nothing; the engine's own queue.
- `pointsman`: two tiers, one of them sheddable, and an API key for every client.
- `litellm`: `priority` in the body (0 paid, 10 free). Its scheduler orders requests only
  while no deployment is healthy; else they go to the engine's queue as they come. (With
  `max_parallel_requests` it refuses what is over that, whatever its priority.)
- `smg`: `--priority-scheduler-enabled`, classes `interactive` (paid) and `bulk` (free) by
  header, with half of the slots reserved for paid work, and with all but one.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import httpx
import numpy as np
import yaml

from benchmarks.isolation_overload import OVERLOAD, plot
from benchmarks.support import report
from benchmarks.support.deployment import ROOT, deployed_with
from benchmarks.support.overload_fleet import FREE_CLIENTS, OUTPUT, PAID_CLIENTS, PROFILE, PROMPT
from benchmarks.support.ways import ENGINE_PORT, GATEWAY_PORT, METRICS_PORT, MODEL, PEERS, _process
from serve_app.tenancy.auth import make_key

SLOTS = 8
CAPACITY_PER_S = 4.1
"""What one such engine answers (a quarter of `isolation_overload`'s four)."""
PATIENCE_S = 30.0
WARM_S = 10.0
WORDS = "refund policy summary for an enterprise customer please explain the terms again "

Express = Callable[[str, int], tuple[dict[str, str], dict[str, Any]]]


@dataclass
class Way:
    """A gateway, running; `express` tells it who asks: headers and body fields by client."""

    url: str
    model: str
    express: Express


@dataclass
class Seen:
    """What one kind of client saw after the warm-up."""

    offered: int = 0
    ttfts: list[float] = field(default_factory=list)
    answered: int = 0
    codes: Counter[str] = field(default_factory=Counter)


# -- gateways -----------------------------------------------------------------


def _profile(folder: str) -> Path:
    known = yaml.safe_load((ROOT / f"configs/profiles/{PROFILE}.yaml").read_text())
    known["scheduling"] |= {"max_num_seqs": SLOTS, "scheduling_policy": "priority"}
    path = Path(folder) / "profile.yaml"
    path.write_text(yaml.safe_dump(known))
    return path


@contextlib.contextmanager
def fifo() -> Iterator[Way]:
    """The engine on a port."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("pointsman")), "simulate", "serve"]
        command += ["--profile", str(_profile(folder)), "--model-id", MODEL]
        command += ["--port", str(ENGINE_PORT)]
        url = f"http://127.0.0.1:{ENGINE_PORT}"
        with _process(command, f"{url}/health"):
            yield Way(url, MODEL, lambda _tier, _number: ({}, {}))


@contextlib.contextmanager
def pointsman() -> Iterator[Way]:
    """Ours, the engine as a lane."""
    keys, tenants = {}, {}
    for number in range(PAID_CLIENTS + FREE_CLIENTS):
        tier = "paid" if number < PAID_CLIENTS else "free"
        keys[number], entry = make_key()
        tenants[f"{tier}{number}"] = {"tier": tier, "keys": [entry.model_dump(mode="json")]}
    tiers = {
        "paid": {"start_within_s": PATIENCE_S},
        "free": {
            "priority": 10,
            "sheddable": True,
            "min_share": 0.05,
            "start_within_s": PATIENCE_S,
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        fleet = yaml.safe_load((ROOT / "benchmarks/overhead_fleet.yaml").read_text())
        fleet["name"] = "overload"
        fleet["routing"] = {"default": "chat"}
        del fleet["lanes"]["quality"]
        fleet["lanes"]["chat"]["simulated"] = {"profile": str(_profile(folder))}
        fleet["admission"] = {"reserve_share": 0.4, "forget_need_s": 20}
        # The other ways say nothing before the first token, and refuse by status alone.
        fleet["timeouts"] = {**fleet.get("timeouts", {}), "keepalive_s": None}
        with deployed_with(fleet, {"tiers": tiers, "tenants": tenants}) as url:
            yield Way(
                url, "auto", lambda _, number: ({"authorization": f"Bearer {keys[number]}"}, {})
            )


@contextlib.contextmanager
def litellm() -> Iterator[Way]:
    """LiteLLM's proxy: one worker, priorities in the body."""
    key = f"sk-{secrets.token_hex(16)}"
    params = {
        "model": f"openai/{MODEL}",
        "api_base": f"http://127.0.0.1:{ENGINE_PORT}/v1",
        "api_key": "none",
        "timeout": 600,
    }
    config = {
        "model_list": [{"model_name": MODEL, "litellm_params": params}],
        "general_settings": {"disable_spend_logs": True, "disable_error_logs": True},
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        "router_settings": {"num_retries": 0},
    }
    env: dict[str, str | None] = {
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        "DISABLE_ADMIN_UI": "True",
        "NO_DOCS": "True",
        "HF_HUB_OFFLINE": "1",
    }
    with tempfile.TemporaryDirectory() as folder, fifo():
        path = Path(folder) / "litellm.yaml"
        path.write_text(yaml.safe_dump(config))
        command = [str(PEERS / "litellm"), "--config", str(path), "--host", "127.0.0.1"]
        command += ["--port", str(GATEWAY_PORT), "--num_workers", "1"]
        url = f"http://127.0.0.1:{GATEWAY_PORT}"
        with _process(command, f"{url}/health/readiness", env, within_s=120):
            yield Way(
                url,
                MODEL,
                lambda tier, _: (
                    {"authorization": f"Bearer {key}"},
                    {"priority": 0 if tier == "paid" else 10},
                ),
            )


def smg(reserved: int) -> Callable[[], contextlib.AbstractContextManager[Way]]:
    """The Rust gateway with its priority scheduler, so many slots reserved for paid work."""

    @contextlib.contextmanager
    def start() -> Iterator[Way]:
        bounds = {"queue_size": 1000, "queue_timeout_secs": int(PATIENCE_S)}
        classes = {
            "system": {},
            "interactive": {"reserved_floor": reserved, "can_preempt": True, **bounds},
            "bulk": bounds,
        }
        with tempfile.TemporaryDirectory() as folder, fifo() as behind:
            path = Path(folder) / "classes.yaml"
            path.write_text(yaml.safe_dump({"classes": _whole(classes)}))
            command = [str(PEERS / "python"), "-m", "smg", "launch", "--enable-igw"]
            command += ["--host", "127.0.0.1", "--port", str(GATEWAY_PORT), "--log-level", "warn"]
            command += ["--policy", "round_robin", "--disable-tokenizer-autoload"]
            command += ["--disable-retries", "--shutdown-grace-period-secs", "1"]
            command += ["--worker-startup-check-interval", "1"]
            command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(METRICS_PORT)]
            command += ["--priority-scheduler-enabled", "--priority-scheduler-config", str(path)]
            command += ["--priority-scheduler-default-max-class", "interactive"]
            url = f"http://127.0.0.1:{GATEWAY_PORT}"
            with _process(command, f"{url}/liveness"):
                _register(url, behind.url)
                yield Way(
                    url,
                    MODEL,
                    lambda tier, _: (
                        {"x-smg-priority": "interactive" if tier == "paid" else "bulk"},
                        {},
                    ),
                )

    return start


def _register(url: str, worker: str, within_s: float = 30) -> None:
    """Tell smg of the worker and its slots, which it does not learn from vLLM's routes."""
    labels = {"max_num_seqs": str(SLOTS)}
    httpx.post(f"{url}/workers", json={"url": worker, "labels": labels}).raise_for_status()
    deadline = time.monotonic() + within_s
    while httpx.get(f"{url}/readiness").status_code != 200:
        if time.monotonic() > deadline:
            raise TimeoutError("smg does not take its worker")
        time.sleep(0.1)
    (known,) = httpx.get(f"{url}/workers").json()["workers"]
    if known["labels"]["max_num_seqs"] != str(SLOTS):
        raise RuntimeError("smg does not know the slots of its worker")


def _whole(classes: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every field of a class, as the file wants them."""
    rest = {
        "reserved_floor": 0,
        "reserved_per_slot": 0.0,
        "queue_size": 64,
        "queue_timeout_secs": 30,
        "starvation_threshold_secs": 120,
        "can_preempt": False,
    }
    return {name: {**rest, **given} for name, given in classes.items()}


WAYS: dict[str, Callable[[], contextlib.AbstractContextManager[Way]]] = {
    "fifo": fifo,
    "pointsman": pointsman,
    "litellm": litellm,
    "smg, 4 reserved": smg(4),
    "smg, 7 reserved": smg(7),
}


# -- load ---------------------------------------------------------------------


async def load(way: Way, seconds: float, *, has_free: bool) -> dict[str, Seen]:
    """Poisson arrivals from every client; who is refused or gives up does not come back."""
    await _warm(way)
    rate = OVERLOAD * CAPACITY_PER_S / (PAID_CLIENTS + FREE_CLIENTS)
    seen = {"paid": Seen(), "free": Seen()}
    begun = time.monotonic()
    tasks: set[asyncio.Task[None]] = set()

    async def client(number: int) -> None:
        tier = "paid" if number < PAID_CLIENTS else "free"
        random, at = Random(f"1.{number}"), begun
        headers, fields = way.express(tier, number)
        async with aiohttp.ClientSession(
            headers=headers, connector=aiohttp.TCPConnector(limit=0)
        ) as session:
            while (at := at + random.expovariate(rate)) < begun + seconds:
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                counted = seen[tier] if at > begun + WARM_S else Seen()
                body = {**_body(way.model, random), **fields}
                task = asyncio.ensure_future(_ask(session, way.url, body, counted))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            while tasks:
                await asyncio.wait(tasks)

    clients = PAID_CLIENTS + (FREE_CLIENTS if has_free else 0)
    await asyncio.gather(*(client(number) for number in range(clients)))
    return seen


async def _warm(way: Way) -> None:
    """The first requests pay for the engine's warm-up, as the profile has it."""
    headers, fields = way.express("paid", 0)
    async with aiohttp.ClientSession(headers=headers) as session:
        for number in range(4):
            await _ask(session, way.url, {**_body(way.model, Random(number)), **fields}, Seen())


def _body(model: str, random: Random) -> dict[str, Any]:
    # The simulated engine reads about six and a half of these characters as a token.
    characters = int(6.5 * PROMPT * random.uniform(0.7, 1.3))
    text = f"{random.random()} {WORDS * (characters // len(WORDS) + 1)}"[:characters]
    output = int(OUTPUT * random.uniform(0.7, 1.3))
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "max_tokens": output,
        "min_tokens": output,
    }


async def _ask(session: aiohttp.ClientSession, url: str, body: dict[str, Any], seen: Seen) -> None:
    seen.offered += 1
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(PATIENCE_S + 1) as patience:
            async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                if response.status != 200:
                    seen.codes[str(response.status)] += 1
                    return
                tail = b""
                async for chunk in response.content.iter_any():
                    if not tail:
                        seen.ttfts.append(time.perf_counter() - begun)
                        patience.reschedule(None)
                    tail = (tail + chunk)[-64:]
                seen.answered += tail.endswith(b"[DONE]\n\n")
    except TimeoutError:
        seen.codes["gave up"] += 1
    except (aiohttp.ClientError, OSError):
        seen.codes["broken"] += 1


def run(names: str | None, seconds: float, *, is_dry: bool) -> None:
    """Every way alone and overloaded; writes the table and the plot."""
    rows: list[dict[str, Any]] = []
    for name in names.split(";") if names else WAYS:
        if not name.startswith(("fifo", "pointsman")) and not PEERS.exists():
            print(f"{name}: run scripts/install-peers first; left out")
            continue
        alone: list[float] = []
        for has_free in (False, True):
            with WAYS[name]() as way:
                seen = asyncio.run(load(way, seconds, has_free=has_free))
            rows.append(_row(name, seen, has_free=has_free))
            p99 = rows[-1]["paid_ttft_p99_s"]
            if alone and alone[0]:
                rows[-1]["p99_over_paid_only"] = p99 / alone[0]
            alone.append(p99)
            print(rows[-1], flush=True)
    if is_dry:
        print(report.table(rows))
        return
    notes = (
        f"Over HTTP, one simulated engine ({PROFILE}, {SLOTS} sequences); {seconds:.0f} s a run, "
        f"the first {WARM_S:.0f} s not counted; {PAID_CLIENTS} paid and {FREE_CLIENTS} free "
        f"clients with Poisson arrivals, together {OVERLOAD:.0f} x {CAPACITY_PER_S} requests a "
        f"second; a client gives up after {PATIENCE_S:.0f} s without a first byte. Engine, "
        "gateway and load generator share the machine. What each gateway was told of tiers: "
        "`benchmarks/support/overload_http.py`. Command: `python -m benchmarks.isolation_overload --http`."
    )
    report.write("isolation_overload_http", rows, title="Threefold overload over HTTP", notes=notes)
    plot("isolation_overload_http", [row for row in rows if row["free_offered"]])


def _row(name: str, seen: dict[str, Seen], *, has_free: bool) -> dict[str, Any]:
    paid, free = seen["paid"], seen["free"]
    row: dict[str, Any] = {
        "policy": name if has_free else f"{name}, paid only",
        "engine": "simulated",
        "paid_ttft_p50_s": float(np.quantile(paid.ttfts, 0.5)) if paid.ttfts else 0.0,
        "paid_ttft_p99_s": float(np.quantile(paid.ttfts, 0.99)) if paid.ttfts else 0.0,
    }
    for tier, kind in seen.items():
        row[f"{tier}_offered"] = kind.offered
        row[f"{tier}_answered"] = kind.answered
        row[f"{tier}_refused"] = sum(kind.codes.values())
    row["codes"] = ", ".join(
        f"{tier} {code}: {count}"
        for tier, kind in (("paid", paid), ("free", free))
        for code, count in sorted(kind.codes.items())
    )
    return row
