"""A Ray cluster over nodes, and the product on it, each started as an operator starts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.multinode.network import Node

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
POINTSMAN = [sys.executable, "-P", "-m", "serve_app.cli"]
FRONT = {"front": 1}
CARDS = {"chat-card": 1, "quality-card": 1}
RESOURCES = {1: FRONT, 2: FRONT | CARDS, 3: CARDS}
"""By the node's number: the first is the head."""

PORT = 6379
READY_S = 400.0
ALL_S = 240.0


def eventually(check: Callable[[], Any], within_s: float, what: str, every_s: float = 0.5) -> Any:
    """The first truthy answer; RuntimeError after `within_s`."""
    deadline = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {within_s:.0f} s: {what}")
        time.sleep(every_s)


class Cluster:
    """Nodes with Ray on them; the state's folder is one that all of them have."""

    def __init__(self, nodes: Sequence[Node], folder: Path) -> None:
        self.nodes, self._folder = nodes, folder
        kept = ("PATH", "HOME", "LANG", "PYTHONPATH")
        self._common = {name: os.environ[name] for name in kept if name in os.environ}
        self._common["PYTHONPATH"] = str(ROOT)
        self._common["POINTSMAN_STATE"] = str(folder / "state")
        self._common["POINTSMAN_TENANTS"] = str(folder / "tenants.yaml")
        shutil.copy(HERE / "tenants.yaml", folder / "tenants.yaml")
        self.log = folder / "log"
        self.log.touch()

    def start_ray(self, node: Node) -> None:
        is_head = node.number == 1
        where = ["--head", f"--port={PORT}"] if is_head else ["--address", self._head_address()]
        command = [
            *("run", "ray", "start", *where, f"--node-ip-address={node.address}"),
            *("--num-cpus=2", "--object-store-memory=80000000", "--disable-usage-stats"),
            f"--resources={json.dumps(RESOURCES[node.number])}",
        ]
        self._call(node, command)

    def _head_address(self) -> str:
        return f"{self.nodes[0].address}:{PORT}"

    def start_serving(self) -> subprocess.Popen[bytes]:
        """`pointsman serve` on the head, ready when this returns."""
        config = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
        config["proxy_location"] = "EveryNode"
        config["http_options"]["host"] = "0.0.0.0"
        args = config["applications"][0]["args"]
        args |= {"fleet": str(HERE / "fleet.yaml"), "listen": "0.0.0.0"}
        path = self._folder / "serve_config.yaml"
        path.write_text(yaml.safe_dump(config))
        head = self.nodes[0]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                head.command([*POINTSMAN, "serve", "--config", str(path)]),
                env=head.environment(self._common),
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        eventually(lambda: self._is_ready(process), READY_S, f"ready; see {self.log}")
        return process

    def _is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with {process.returncode}; see {self.log}")
        return "Pointsman is ready" in self.log.read_text()

    def new_key(self) -> str:
        """A key of the one tenant, made while the deployment runs."""
        told = self._call(
            self.nodes[0], ["tenants", "add", "acme", "--tier", "open", "--admin", "--json"]
        )
        return str(json.loads(told)["key"])

    def refuse_open_folders(self) -> None:
        """Raise RuntimeError where others on a node could reach the sockets of Ray or HAProxy."""
        for node in self.nodes:
            for path in node.own("/var/tmp").iterdir():
                if path.stat().st_mode & 0o077:
                    raise RuntimeError(f"{node.name}: {path} is open to others")

    def replicas_on(self, node: Node) -> set[str]:
        """Ids of the lane replicas on a node, as Serve's API on the head has them."""
        token = (Path.home() / ".ray" / "auth_token").read_text().strip()
        ask = ["curl", "-sf", "-H", "@-", "http://127.0.0.1:8265/api/serve/applications/"]
        done = subprocess.run(
            self.nodes[0].command(ask),
            input=f"authorization: Bearer {token}\n",
            capture_output=True,
            text=True,
            check=True,
        )
        (application,) = json.loads(done.stdout)["applications"].values()
        return {
            replica["replica_id"]
            for name, deployment in application["deployments"].items()
            for replica in deployment["replicas"]
            if name.startswith("lane:") and replica["node_ip"] == node.address
        }

    def _call(self, node: Node, arguments: Sequence[str]) -> str:
        done = subprocess.run(
            node.command([*POINTSMAN, *arguments]),
            env=node.environment(self._common),
            capture_output=True,
            text=True,
            check=False,
            cwd=self._folder,
            timeout=180,
        )
        with self.log.open("a") as log:
            log.write(done.stderr)
        if done.returncode:
            raise RuntimeError(f"{node.name}: {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout
