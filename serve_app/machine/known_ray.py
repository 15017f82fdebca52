"""Ray's own commands, told which Ray to ask: the one whose processes are this user's.

By themselves they send Ray's token to whoever listens on port 8265, or to the cluster of
any process, whose ever, that is named like Ray's. An address that is given is left alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from serve_app.config.errors import ConfigError
from serve_app.machine.ports import CLUSTER, DASHBOARD, open_ports
from serve_app.machine.ray_files import forget_dead_ray, refuse_long, refuse_shared, run_dir

BY_FILE = {
    *("attach", "down", "exec", "get-head-ip", "get-worker-ips", "monitor"),
    *("rsync-down", "rsync-up", "submit", "up"),
}
"""Ray's commands for a cluster that a file describes; they reach its hosts by SSH."""

ALONE = {
    "serve": {"build", "run"},
    "ray": {
        *("disable-usage-stats", "enable-usage-stats", "get-auth-token", "start", "stop"),
        *BY_FILE,
    },
}
"""Commands that start a Ray, or ask none; `serve run` and `ray start` read our directory alone."""

ALONE_UMASK = 0o077

STARTS = {("serve", "run"), ("ray", "start")}

BY_DEFAULT = "http://127.0.0.1:8265"
"""What scripts/environment says for who calls Ray's own program."""


def is_alone(program: str, arguments: Sequence[str]) -> bool:
    """Return whether the command needs no address of a Ray, or is given one."""
    named = [x for x in arguments if not x.startswith("-")]
    has_address = any(x in {"-a", "--address"} or x.startswith("--address=") for x in arguments)
    is_help = "--help" in arguments or not named
    return is_help or has_address or named[0] in ALONE[program]


def starts_one(program: str, arguments: Sequence[str]) -> bool:
    """Return whether the command starts a Ray in our directory."""
    named = [x for x in arguments if not x.startswith("-")]
    return bool(named) and (program, named[0]) in STARTS and "--help" not in arguments


def in_our_directory(program: str, arguments: Sequence[str]) -> list[str]:
    """Return the arguments, with our directory for a node that joins a cluster.

    Ray would have it use the path that is the head's, which on this machine may not be ours
    alone, and may be made for all to read.
    """
    joins = starts_one(program, arguments) and program == "ray" and "--head" not in arguments
    is_told = any(x == "--temp-dir" or x.startswith("--temp-dir=") for x in arguments)
    if not joins or is_told:
        return list(arguments)
    return [*arguments, f"--temp-dir={run_dir() / 'ray'}"]


def addresses(folder: Path) -> dict[str, str]:
    """Return environment variables that name the Ray of this directory, or raise ConfigError."""
    found = {x.row.what: x.listener for x in open_ports(folder) if x.row is not None}
    if DASHBOARD not in found or CLUSTER not in found:
        raise ConfigError("no Ray of this user runs on this machine; --address names another one")
    dashboard = f"http://127.0.0.1:{found[DASHBOARD].port}"
    cluster = found[CLUSTER]
    return {
        "RAY_DASHBOARD_ADDRESS": dashboard,
        "RAY_API_SERVER_ADDRESS": dashboard,
        "RAY_ADDRESS": f"127.0.0.1:{cluster.port}",
    }


def is_named(program: str, environment: Mapping[str, str]) -> bool:
    """Return whether the environment names a Ray."""
    if environment.get("RAY_ADDRESS") or environment.get("RAY_API_SERVER_ADDRESS"):
        return True
    dashboard = environment.get("RAY_DASHBOARD_ADDRESS", BY_DEFAULT)
    return program == "serve" and dashboard != BY_DEFAULT


def main(argv: Sequence[str]) -> int:
    """Replace this process by Ray's program of that name; return 1 if no Ray can be asked."""
    program, *arguments = argv
    try:
        if starts_one(program, arguments):
            # Ray would say it in a traceback.
            refuse_shared(run_dir())
            refuse_long(run_dir())
            arguments = in_our_directory(program, arguments)
        if not is_alone(program, arguments) and not is_named(program, os.environ):
            refuse_shared(run_dir())
            os.environ.update(addresses(run_dir()))
    except ConfigError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    with contextlib.suppress(ConfigError):
        refuse_shared(run_dir())
        forget_dead_ray(run_dir())
    # On a node of a cluster Serve puts HAProxy's sockets where the head's are, in a directory
    # that it makes there if it has to; whoever reaches them says where requests go.
    os.umask(ALONE_UMASK)
    path = Path(sys.executable).with_name(program)
    return os.execv(path, [str(path), *arguments])  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
