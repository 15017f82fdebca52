"""A Pointsman deployment for the length of a benchmark or a test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from serve_app.machine.processes import Process, end, is_agent_of, is_haproxy_of, ours
from serve_app.machine.ray_files import forget_dead_ray
from serve_app.tenancy.local_key import kept_admin_key

ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:8000"


@contextlib.contextmanager
def deployed(
    ready_s: float = 300, ray_start: Sequence[str] = (), grace_s: float = 30, **args: Any
) -> Iterator[str]:
    """Run `serve run` with these args of serve_config.yaml; yields the base URL.

    `ray_start`: options of a `ray start --head` beforehand, for logical resources;
    `grace_s`: what it may take to end by itself when it is interrupted.
    """
    config = serve_config()
    config["applications"][0]["args"] |= args
    with serving(config, "/ready", ready_s, ray_start, grace_s=grace_s):
        yield URL


@contextlib.contextmanager
def deployed_with(fleet: dict[str, Any], tenants: dict[str, Any]) -> Iterator[str]:
    """Run `serve run` with these contents of the two files; yields the base URL."""
    with tempfile.TemporaryDirectory() as folder:
        fleet_file, tenants_file = Path(folder) / "fleet.yaml", Path(folder) / "tenants.yaml"
        fleet_file.write_text(yaml.safe_dump(fleet))
        tenants_file.write_text(yaml.safe_dump(tenants))
        with deployed(fleet=str(fleet_file), tenants=str(tenants_file)) as url:
            yield url


def serve_config() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    return config


@contextlib.contextmanager
def serving(
    config: dict[str, Any],
    ready: str,
    ready_s: float = 300,
    ray_start: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    grace_s: float = 30,
) -> Iterator[None]:
    """Run `serve run` with a configuration, and a state of its own unless POINTSMAN_STATE is set.

    Args:
        config: as in serve_config.yaml.
        ready: path that answers 200 when it may be used.
        ready_s: seconds within which it does.
        ray_start: as for `deployed`.
        env: environment variables for every process of it.
        grace_s: as for `deployed`.

    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = Path(folder) / "serve_config.yaml"
        path.write_text(yaml.safe_dump(config))
        log = stack.enter_context((Path(folder) / "log").open("w+"))
        if "POINTSMAN_STATE" not in os.environ:
            # In this process too: `admin_headers` and commands look for its key there.
            os.environ["POINTSMAN_STATE"] = str(Path(folder) / "state")
            stack.callback(os.environ.pop, "POINTSMAN_STATE")
        env = {**os.environ, **(env or {})}
        stop_everything()
        if ray_start:
            ray = [str(Path(sys.executable).with_name("ray")), "start", "--head", *ray_start]
            subprocess.run(ray, env=env, check=True, stdout=log, stderr=log)
        # What a shell starts in the background is deaf to interrupts, and so are its children.
        heeding = ["env", "--default-signal=INT"]
        process = subprocess.Popen(
            [*heeding, str(Path(sys.executable).with_name("serve")), "run", str(path)],
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _await_ready(process, URL + ready, ready_s, log)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
            process.kill()
            process.wait()
            stop_everything()


def admin_headers() -> dict[str, str]:
    """The admin key of the deployment that runs, for its `/status` and reloads."""
    return {"x-api-key": kept_admin_key() or ""}


def stop_everything() -> None:
    """End what a deployment can leave behind: Ray, and HAProxy, which outlives `ray stop`.

    Engines end with their replicas. One that does not is a fault, and is not hidden.
    """
    folder = Path(os.environ["RAY_TMPDIR"])
    _await_none(lambda: _of_ray(folder), signal.SIGKILL)
    forget_dead_ray(folder)
    _await_none(lambda: [x for x in ours() if is_haproxy_of(x, folder)], signal.SIGTERM)
    _await_none(_engines_of_ray, within_s=120)


def haproxies() -> set[int]:
    """Processes of the deployment's HAProxy: a reload puts another one in the place of each."""
    folder = Path(os.environ["RAY_TMPDIR"])
    return {x.pid for x in ours() if is_haproxy_of(x, folder)}


def _of_ray(folder: Path) -> list[Process]:
    """What Ray has started under this directory: its servers, and its workers."""
    session = f"{folder}/ray/session_"
    return [
        x
        for x in ours()
        if _is_server(x, session) or _is_worker(x, folder) or is_agent_of(x, folder)
    ]


def _is_server(process: Process, session: str) -> bool:
    is_rays = process.name in {"gcs_server", "raylet"} or any(
        "/ray/" in x and x.endswith(".py") for x in process.argv[:4]
    )
    return is_rays and any(session in x for x in process.argv)


def _is_worker(process: Process, folder: Path) -> bool:
    return process.name.startswith("ray::") and f"RAY_TMPDIR={folder}" in process.environment


def _engines_of_ray() -> list[Process]:
    """Engines that a lane's replica has started; one that is started by hand is none."""
    engines = [x for x in ours() if x.name.startswith("VLLM::")]
    return [x for x in engines if any(e.startswith("RAY_JOB_ID=") for e in x.environment)]


def end_group(process: subprocess.Popen[bytes], within_s: float = 20) -> None:
    """Interrupt a process that leads a group, and kill what is left of the group."""
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(within_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _await_none(
    found: Callable[[], Sequence[Process]], number: int | None = None, within_s: float = 30
) -> None:
    """Wait until there is none, each ended by its id where a signal is given."""
    deadline = time.monotonic() + within_s
    while left := found():
        if time.monotonic() > deadline:
            raise RuntimeError(f"left behind: {[x.argv for x in left]}")
        if number is not None:
            for process in left:
                end(process, number=number)
        time.sleep(0.1)


def _await_ready(process: subprocess.Popen[bytes], url: str, ready_s: float, log: Any) -> None:
    deadline = time.monotonic() + ready_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(url, timeout=2),
        ):
            return
        time.sleep(0.25)
    log.seek(0)
    raise RuntimeError("the deployment did not become ready:\n" + log.read()[-8000:])


def pids_of(fragment: str) -> list[int]:
    """Processes whose command line contains `fragment`."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if fragment in path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"):
                pids.append(int(path.parent.name))
    return pids


def cpu_s(pids: list[int]) -> float:
    """User and system CPU seconds that these processes have used."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_mib(pids: list[int]) -> float:
    """Resident memory of these processes."""
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
