"""What listens on this machine because Pointsman runs: each socket, and what it is.

The same rows are the table of docs/ports.md, and what a live deployment is held against.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serve_app.machine.port_owner import Listener, listeners
from serve_app.machine.processes import Process, is_agent_of, is_haproxy_of, ours

STATS = int(os.environ.get("RAY_SERVE_HAPROXY_STATS_PORT") or 8404)
HAPROXY_METRICS = int(os.environ.get("RAY_SERVE_HAPROXY_METRICS_PORT") or 9101)
DASHBOARDS = range(8265, 8265 + 51)
"""Ray takes the first that is free."""

AGENT = 52365
"""Of Ray's agent, which starts jobs and answers for its node's health.

`serve run` has no setting for it. Where an earlier agent or an outgoing connection has it while
Ray starts, the agent goes on without, and says so in its log only.
"""

DASHBOARD, CLUSTER = "dashboard, jobs and Serve's API", "cluster control"
INGRESS = range(30000, 31001)
LOOPBACK, NODE, EVERYWHERE = "127.0.0.1", "127.0.0.1 (a cluster: all interfaces)", "all interfaces"
KEY, TOKEN, SECRET, NOTHING = "key", "token", "secret on every path", "nothing"


Fits = Callable[[str, Listener], bool]
"""Whether a socket of a process with this name is of a kind."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of listening socket: a row of the table of docs/ports.md.

    `who` should reach it, and it `asks` its callers for a secret of this kind.
    """

    port: str
    process: str
    bound: str
    what: str
    who: str
    asks: str
    fits: Fits


def _any(*processes: str) -> Fits:
    return lambda name, _: name.startswith(processes)


def _at(process: str, *ports: int) -> Fits:
    return lambda name, found: name.startswith(process) and found.port in ports


def _http_of(process: str) -> Fits:
    """Match HTTP sockets, which are IPv4; gRPC opens IPv6 ones."""
    return lambda name, found: name.startswith(process) and not found.is_ipv6


def _metrics(process: str, title: str, what: str = "Ray's own metrics") -> Row:
    """What Prometheus reads of a process with this title."""
    who = "Prometheus of a cluster"
    return Row("random", process, NODE, what, who, NOTHING, _http_of(title))


def _internal(port: str, process: str, bound: str, what: str, fits: Fits) -> Row:
    """What processes of Ray's cluster say to each other, with its token."""
    return Row(port, process, bound, what, "the cluster", TOKEN, fits)


ROWS = (
    Row(
        "8404",
        "HAProxy",
        f"{EVERYWHERE}, no setting",
        "HAProxy's statistics page",
        "nobody outside",
        NOTHING,
        _at("haproxy", STATS),
    ),
    Row(
        "9101",
        "HAProxy",
        f"{EVERYWHERE}, no setting",
        "HAProxy's metrics",
        "Prometheus",
        NOTHING,
        _at("haproxy", HAPROXY_METRICS),
    ),
    Row(
        "8000",
        "HAProxy",
        "`http_options.host` (127.0.0.1)",
        "the API",
        "clients",
        KEY,
        _any("haproxy"),
    ),
    Row(
        "8265",
        "Ray dashboard",
        LOOPBACK,
        DASHBOARD,
        "operators, by SSH tunnel",
        TOKEN,
        _at("dashboard", *DASHBOARDS),
    ),
    _metrics("Ray dashboard", "dashboard"),
    _metrics("Ray autoscaler's monitor", "monitor"),
    _internal(
        str(AGENT),
        "Ray dashboard agent",
        "127.0.0.1 (a cluster: and the node's address)",
        "agent API",
        _at("ray::DashboardA", AGENT),
    ),
    _metrics("Ray dashboard agent", "ray::DashboardA", "metrics of the node and of Serve"),
    _internal(
        "random",
        "Ray runtime environment agent",
        NODE,
        "sets workers' environments up",
        _http_of("ray::RuntimeEnv"),
    ),
    Row(
        "8500",
        "Serve proxy",
        LOOPBACK,
        "the API, where HAProxy has nobody else",
        "HAProxy",
        KEY,
        _http_of("ray::ProxyActor"),
    ),
    Row(
        "8000",
        "ingress replica",
        "`http_options.host` (127.0.0.1)",
        "the API, beside HAProxy",
        "clients",
        KEY,
        # Below what Serve and the kernel give out.
        lambda name, found: name.endswith(":ingress") and found.port < INGRESS.start,
    ),
    Row(
        "30000-31000",
        "ingress replica",
        "`http_options.host` (127.0.0.1)",
        "the API without HAProxy",
        "HAProxy",
        KEY,
        lambda name, found: (
            name.endswith(":ingress") and found.port in INGRESS and not found.is_ipv6
        ),
    ),
    Row(
        "random",
        "ingress replica",
        "as the lanes'",
        "chats of sockets that were resumed elsewhere",
        "ingress replicas",
        SECRET,
        lambda name, found: name.endswith(":ingress") and not found.is_ipv6,
    ),
    Row(
        "random",
        "lane replica",
        "`args.listen` (127.0.0.1; beyond loopback the node's address)",
        "engine endpoint",
        "ingress replicas",
        SECRET,
        lambda name, found: ":lane:" in name and not found.is_ipv6,
    ),
    _internal(
        "random",
        "lane, ingress and ledger replicas",
        f"{EVERYWHERE}, no setting",
        "Serve's gRPC between replicas",
        lambda name, found: name.startswith("ray::ServeReplica") and found.host.is_unspecified,
    ),
    _internal(
        "random",
        "every Ray worker, and `serve run`",
        NODE,
        "Ray's gRPC: calls, objects",
        _any("ray::", "serve"),
    ),
    _internal("random (6379 with `ray start`)", "Ray GCS", NODE, CLUSTER, _any("gcs_server")),
    _internal("random", "raylet", NODE, "Ray's gRPC: workers, object transfer", _any("raylet")),
    Row(
        "random",
        "engine (`VLLM::`)",
        LOOPBACK,
        "vLLM's threads among themselves (gloo, ZeroMQ)",
        "the same engine",
        NOTHING,
        _any("VLLM::"),
    ),
)


@dataclass(frozen=True, slots=True)
class Open:
    """A socket that listens now, its process, and its row; None if no row describes it."""

    listener: Listener
    process: str
    pid: int
    row: Row | None


def open_ports(folder: Path) -> list[Open]:
    """Every listening socket of the deployment whose files are in this directory, by port."""
    by_inode = {x.inode: x for x in listeners()}
    found = {}
    for process in _of_deployment(folder):
        name = name_of(process)
        for inode in process.sockets & by_inode.keys():
            listener = by_inode[inode]
            found[inode] = Open(listener, name, process.pid, row_of(name, listener))
    return sorted(found.values(), key=lambda x: (x.listener.port, x.pid))


def row_of(name: str, listener: Listener) -> Row | None:
    """Return the first row that describes a socket of this process."""
    return next((row for row in ROWS if row.fits(name, listener)), None)


def name_of(process: Process) -> str:
    """Name a process by the title that it has set, or else by its script or program."""
    title = process.argv[0].strip()
    if title.startswith(("ray::", "VLLM::")):
        return title
    scripts = [Path(x).stem for x in process.argv[:4] if x.endswith(".py")]
    return scripts[0] if scripts else process.name


def _of_deployment(folder: Path) -> Iterator[Process]:
    session = f"{folder}/ray/session_"
    for process in ours():
        if (
            is_haproxy_of(process, folder)
            or is_agent_of(process, folder)
            or any(session in x for x in process.argv)
            or _is_of_ray(process, folder)
        ):
            yield process


def _is_of_ray(process: Process, folder: Path) -> bool:
    """Return whether it is a Ray worker or a child of one, or the `serve run` that started Ray."""
    environment = process.environment
    if f"RAY_TMPDIR={folder}" not in environment:
        return False
    return process.name in {"serve", "ray"} or any(
        x.startswith(("RAY_JOB_ID=", "RAY_RAYLET_PID=")) for x in environment
    )


def markdown(rows: Iterable[Row] = ROWS) -> str:
    """The table of docs/ports.md."""
    lines = [
        "| port | process | bound to | what it is | who should reach it | asks for |",
        "|---|---|---|---|---|---|",
    ]
    cells = ((r.port, r.process, r.bound, r.what, r.who, r.asks) for r in rows)
    return "\n".join([*lines, *(f"| {' | '.join(x)} |" for x in cells)])
