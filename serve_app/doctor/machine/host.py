"""Disk, shared memory, ports, clock and limits of this host."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from serve_app.config.fleet import FleetConfig
from serve_app.doctor.check import Verdict, failure, not_applicable, ok, warning
from serve_app.engine.host_cache import LEAST_GIB, HostMemory, host_cache_gib
from serve_app.machine.port_owner import listeners
from serve_app.machine.processes import holder

GB = 10**9
STATE_GB = 2
"""Request log, usage logs and stored responses are bounded; this is room for all of them."""
NOFILE = 65_536
LEAST_NOFILE = 8_192
"""A stream holds two sockets in the ingress and one in its lane; Ray's processes hundreds."""
AHEAD_S = 300.0

TIME_ERROR = 5
"""What adjtimex returns where nothing keeps the clock (STA_UNSYNC)."""

Usage = Callable[[Path], tuple[int, int, int]]


def state_room(folders: Iterable[Path], usage: Usage = shutil.disk_usage) -> Verdict:
    """Check that state can be written, and that its volumes have room."""
    told, tight = [], []
    for folder in dict.fromkeys(folders):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not os.access(there, os.W_OK):
            fix = f"sudo chown -R $USER {there}, or export POINTSMAN_STATE to another directory"
            return failure(f"{there} cannot be written", fix)
        free = usage(there)[2]
        told.append(f"{folder}: {free / GB:,.0f} GB free")
        if free < STATE_GB * GB:
            tight.append(str(folder))
    if tight:
        fix = f"free at least {STATE_GB} GB, or export POINTSMAN_STATE to another volume"
        return warning("; ".join(told), fix)
    return ok("; ".join(told))


def shared_memory(fleet: FleetConfig, memory: HostMemory, cards: int) -> Verdict:
    """Check /dev/shm for the second-level KV cache of the lanes that ask for one."""
    wanting = {
        name: lane for name, lane in fleet.enabled_lanes.items() if lane.host_kv_cache is not None
    }
    if not wanting or not cards:
        return not_applicable("no lane of this machine keeps KV in host memory")
    sizes = {
        name: host_cache_gib(lane.host_kv_cache, memory, cards=lane.workers, cards_on_host=cards)
        for name, lane in wanting.items()
    }
    told = f"{memory.shm_free:.0f} GiB of {memory.shm:.0f} free, RAM {memory.ram:.0f} GiB"
    without = [name for name, size in sizes.items() if size is None]
    fix = (
        "start the container with --ipc=host or --shm-size, or give the lane `host_kv_cache: null`"
    )
    if without:
        return warning(
            f"{told}: less than {LEAST_GIB:.0f} GiB a card for {', '.join(without)}, which then "
            "forget every prefix that the card evicts",
            fix,
        )
    wanted = sum(size or 0 for size in sizes.values())
    if wanted > memory.shm_free:
        return failure(f"{told}, lanes ask for {wanted:.0f} GiB: the engine does not start", fix)
    return ok(f"{told}; {wanted:.0f} GiB for KV")


def ports(wanted: Mapping[int, str], ours: frozenset[int], agent: int = 0) -> Verdict:
    """Check that nobody else listens where the deployment will.

    Args:
        wanted: what each port is for.
        ours: ports that a running deployment of this user holds already.
        agent: of Ray's agent, without which only jobs and probes fail; 0: it is not looked at.

    """
    listening = {x.port for x in listeners()}
    taken = listening & set(wanted)
    foreign = sorted(taken - ours)
    if foreign:
        told = "; ".join(f"{port} ({wanted[port]}) is taken by {holder(port)}" for port in foreign)
        return failure(told, f"end it (ss -ltnp 'sport = :{foreign[0]}'), or give it another port")
    if taken and agent and agent not in ours:
        # Ray says it in the agent's log only, and whoever submits a job hears "try again later".
        return warning(
            f"Ray's agent of this user's running deployment has not got its port ({agent}): "
            "`ray job submit` and probes of the node's health get no answer",
            "start it again; sudo sysctl -w net.ipv4.ip_local_reserved_ports="
            f"{agent} keeps outgoing connections away from it",
        )
    if taken:
        return ok(f"{', '.join(map(str, sorted(taken)))}: this user's running deployment")
    if agent in listening - ours:
        return warning(
            f"{agent} (Ray's agent) is taken by {holder(agent)}: jobs and probes of the node's "
            "health would not work",
            f"end it (ss -ltnp 'sport = :{agent}')",
        )
    return ok(f"{', '.join(map(str, sorted(wanted)))} are free")


def clock(written: Iterable[Path], now: float | None = None, kept: int | None = None) -> Verdict:
    """Check the clock against files' times and the kernel's word on whether it is kept.

    Minutes of quotas, logs' times and TLS depend on it; leases run on another clock.
    """
    now = time.time() if now is None else now  # noqa: TID251
    times = [path.stat().st_mtime for path in written if path.exists()]
    ahead = max(times, default=0.0) - now
    fix = "sudo timedatectl set-ntp true (or chrony); timedatectl shows the state"
    if ahead > AHEAD_S:
        return failure(
            f"the clock is {ahead / 3600:.1f} h behind files that were written here", fix
        )
    state = _adjtimex() if kept is None else kept
    if state < 0:
        return not_applicable("the kernel does not tell whether the clock is kept")
    if state == TIME_ERROR:
        return warning("nothing keeps the clock in step (no NTP)", fix)
    return ok("kept in step")


def limits(soft: int | None = None, hard: int | None = None) -> Verdict:
    """Check the limit on open files; Ray raises the soft one to the hard one."""
    found_soft, found_hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = soft or found_soft, hard or found_hard
    told = f"open files: {soft:,} (at most {hard:,})"
    fix = f"ulimit -n {NOFILE}; for good: LimitNOFILE={NOFILE} (systemd) or limits.conf"
    if hard < LEAST_NOFILE:
        return failure(told, fix)
    if hard < NOFILE:
        return warning(told, fix)
    return ok(told)


def _adjtimex() -> int:
    """The kernel's state of the clock; negative where it may not be asked."""
    # struct timex has 208 bytes on 64-bit Linux; modes 0 only reads.
    return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256)))
