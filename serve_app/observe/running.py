"""Prometheus, and Grafana where it is installed, beside a running deployment."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serve_app.config.errors import ConfigError
from serve_app.observe.files import GRAFANA, PROMETHEUS, Wanted, grafana_files, prometheus_files
from serve_app.observe.files import write as write_files

HOST = "127.0.0.1"
MISSING = (
    "there is no 'prometheus' on the PATH: 'scripts/install-observe' installs it where apt-get "
    "may; else see https://prometheus.io/download"
)
GRAFANA_HOME = Path("/usr/share/grafana")
"""Where its packages put it."""

KEPT, KEPT_SIZE = "30d", "4GB"
"""The older goes first. 3,000 series at 15 s and two bytes a sample are 35 MB a day."""

_END_S = 10.0
_LOOK_S = 0.5


@dataclass(frozen=True)
class Ports:
    """On loopback."""

    prometheus: int = 9090
    grafana: int = 3000


def start(wanted: Wanted, folder: Path, ports: Ports) -> int:
    """Run until a signal ends it, or until one of them ends. What they keep is in `folder`.

    Raises ConfigError where there is no Prometheus, or it does not take its files.
    """
    with _signals() as asked, processes(wanted, folder, ports) as running:
        while not asked:
            for name, process in running.items():
                if process.poll() is not None:
                    raise ConfigError(f"{name} has ended ({process.returncode}): see {folder}")
            time.sleep(_LOOK_S)
    return 0


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Those that asked for the end, of the keyboard and of a supervisor, in their order.

    They are noted and do not raise: an exception while a server is being made would lose it,
    and it would go on without its owner.
    """
    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {x: signal.signal(x, lambda number, _: asked.append(number)) for x in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def processes(
    wanted: Wanted, folder: Path, ports: Ports
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Both as processes by name; they have ended when this has.

    Raises ConfigError where there is no Prometheus, or it does not take its files.
    """
    prometheus = shutil.which("prometheus")
    if prometheus is None:
        raise ConfigError(MISSING)
    write_files({**prometheus_files(wanted), **grafana_files(wanted.home)}, folder)
    commands = {"prometheus": _prometheus(prometheus, folder, ports)}
    if (grafana := _grafana(folder, ports)) is not None:
        commands["grafana"] = grafana
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in commands.items():
            running[name] = _started(name, command, folder, ports)
        yield running
    finally:
        _end(list(running.values()))


def _prometheus(program: str, folder: Path, ports: Ports) -> list[str]:
    config = folder / PROMETHEUS / "prometheus.yml"
    tool = shutil.which("promtool")
    if tool is not None:
        # The program's own path, and a file that was written above.
        command = [tool, "check", "config", str(config)]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if checked.returncode:
            raise ConfigError(f"{config}: {checked.stderr.strip() or checked.stdout.strip()}")
    return [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--storage.tsdb.retention.time={KEPT}",
        f"--storage.tsdb.retention.size={KEPT_SIZE}",
        f"--web.listen-address={HOST}:{ports.prometheus}",
        "--log.level=warn",
    ]


def has_grafana() -> bool:
    return shutil.which("grafana-server") is not None and GRAFANA_HOME.is_dir()


def _grafana(folder: Path, ports: Ports) -> list[str] | None:
    """Return the command of a Grafana that is installed; None: there is none."""
    program = shutil.which("grafana-server")
    if program is None or not has_grafana():
        return None
    data = folder / "grafana"
    settings = {
        "server.http_addr": HOST,
        "server.http_port": str(ports.grafana),
        "paths.data": str(data),
        "paths.logs": str(data / "logs"),
        "paths.provisioning": str(folder / GRAFANA / "provisioning"),
        "analytics.reporting_enabled": "false",
        "analytics.check_for_updates": "false",
        # It listens on loopback: whoever is at this machine may look, not change.
        "auth.anonymous.enabled": "true",
        "users.default_theme": "system",
    }
    chosen = [f"cfg:{name}={value}" for name, value in settings.items()]
    return [program, f"--homepath={GRAFANA_HOME}", *chosen]


def _started(name: str, command: list[str], folder: Path, ports: Ports) -> subprocess.Popen[bytes]:
    env = {
        **os.environ,
        "POINTSMAN_PROMETHEUS": f"http://{HOST}:{ports.prometheus}",
        "POINTSMAN_DASHBOARDS": str(folder / GRAFANA / "dashboards"),
    }
    with (folder / f"{name}.log").open("wb") as log:
        # Programs from the PATH with arguments of our own; Ctrl-C is ours to pass on.
        return subprocess.Popen(  # noqa: S603
            command, env=env, stdout=log, stderr=log, start_new_session=True
        )


def _end(running: list[subprocess.Popen[bytes]]) -> None:
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
