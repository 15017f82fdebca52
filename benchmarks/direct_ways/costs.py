"""What a way costs: processor time by process, first tokens, and whether all count the same."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.direct_ways.client import Answer, get, load, whole_answers
from benchmarks.direct_ways.handover import written_bytes
from benchmarks.direct_ways.lane import event_of
from benchmarks.direct_ways.stream_work import stream
from benchmarks.direct_ways.ways import LANE_PORTS, Way
from simulator.virtual_time.report import quantile

TOKENS, STREAMS, EACH = 100, 64, 2
CLIENTS, WHOLE_EACH = 8, 50
IDLE_S = 3.0
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def costs(way: Way) -> dict[str, Any]:
    """Every figure of one round. The lanes' share is beside the path's, not in it."""
    return asyncio.run(_costs(way))


async def _costs(way: Way) -> dict[str, Any]:
    row: dict[str, Any] = {}
    await load(way.port, way.secret, 8, 4, 4)
    lone = await load(way.port, way.secret, 1, 60, 2)
    usage, told = Usage(way), await _counts(way)
    before = usage.now()
    await asyncio.sleep(IDLE_S)
    row["path_idle_cpu_ms_per_s"] = _path_s(usage.now(), before) * 1e3 / IDLE_S
    before = usage.now()
    many = await load(way.port, way.secret, STREAMS, EACH, TOKENS)
    row |= _per(usage.now(), before, STREAMS * EACH * TOKENS, "token")
    row |= await _agreement(way, told, many)
    before = usage.now()
    failed = await whole_answers(way.port, way.secret, CLIENTS, WHOLE_EACH)
    row |= _per(usage.now(), before, CLIENTS * WHOLE_EACH, "request")
    for answers, name in ((lone, "1"), (many, "64")):
        ttft_ms = [1e3 * answer.ttft_s for answer in answers]
        row[f"ttft_p50_ms_{name}"] = quantile(ttft_ms, 0.5)
        row[f"ttft_p99_ms_{name}"] = quantile(ttft_ms, 0.99)
    row["errors"] = failed + sum(not answer.is_whole for answer in (*lone, *many))
    return row


class Usage:
    """Processor seconds of a way's processes: all of it, and the system's part."""

    def __init__(self, way: Way) -> None:
        self._processes = {name: [process.pid] for name, process in way.path.items()}
        self._processes["lanes"] = [process.pid for process in way.lanes]

    def now(self) -> dict[str, tuple[float, float]]:
        return {name: _used(pids) for name, pids in self._processes.items()}


def _used(pids: Iterable[int]) -> tuple[float, float]:
    """The first to the nanosecond (schedstat), the system's part by the kernel's own split."""
    spent = system = 0.0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            spent += int((task / "schedstat").read_text().split()[0]) / 1e9
        system += int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[12])
    return spent, system * _TICK_S


def _per(
    now: dict[str, tuple[float, float]],
    before: dict[str, tuple[float, float]],
    units: int,
    unit: str,
) -> dict[str, float]:
    used = {
        name: (spent - before[name][0], system - before[name][1])
        for name, (spent, system) in now.items()
    }
    row = {f"{name}_cpu_us_per_{unit}": 1e6 * spent / units for name, (spent, _) in used.items()}
    whole = _path_s(now, before)
    row[f"path_cpu_us_per_{unit}"] = 1e6 * whole / units
    if unit == "token":
        system = sum(system for name, (_, system) in used.items() if name != "lanes")
        row["path_system_share"] = system / whole if whole else 0.0
    return row


def _path_s(now: dict[str, tuple[float, float]], before: dict[str, tuple[float, float]]) -> float:
    return sum(now[name][0] - before[name][0] for name in now if name != "lanes")


async def _counts(way: Way) -> tuple[int, int]:
    """What the lane that is asked has generated, and what whoever counts has counted."""
    generated = (await get(LANE_PORTS[0], "/stats", way.secret))["generated"]
    counted = (await get(way.counted_at, "/stats", way.secret))["counted"] if way.counted_at else 0
    return generated, counted


async def _agreement(way: Way, before: tuple[int, int], answers: list[Answer]) -> dict[str, Any]:
    generated, counted = await _counts(way)
    return {
        "received_tokens": sum(answer.tokens for answer in answers),
        "generated_tokens": generated - before[0],
        "counted_tokens": counted - before[1] if way.counted_at else "lane only",
    }


def parts() -> dict[str, float]:
    """Microseconds of the steps that only a direct way has, each the least of five loops."""
    key, decision = secrets.token_bytes(32), secrets.token_bytes(240)
    mac = hmac.digest(key, decision, "sha256")

    def verify() -> bool:
        return hmac.compare_digest(hmac.digest(key, decision, "sha256"), mac)

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listening.getsockname())
    message, body, event = bytes(1200), bytes(8192), event_of(7)
    work = stream()

    def pass_on() -> None:
        socket.send_fds(ours, [message], [client.fileno()])
        for fd in socket.recv_fds(theirs, 4096, 1)[1]:
            os.close(fd)

    def work_on_token() -> None:
        nonlocal work
        if work.tokens == TOKENS:
            work = stream()
        work.feed(event)

    steps: dict[str, Callable[[], object]] = {
        "sign_decision_us": lambda: hmac.digest(key, decision, "sha256"),
        "verify_decision_us": verify,
        "pass_socket_us": pass_on,
        "written_bytes_us": lambda: written_bytes(client),
        "sha256_of_8_kib_us": lambda: hashlib.sha256(body).digest(),
        "stream_work_on_token_us": work_on_token,
    }
    found = {name: _least_us(step) for name, step in steps.items()}
    for opened in (ours, theirs, listening, client):
        opened.close()
    return found


def _least_us(step: Callable[[], object], times: int = 5000) -> float:
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for _ in range(times):
            step()
        best = min(best, time.process_time() - begun)
    return 1e6 * best / times
