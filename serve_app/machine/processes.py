"""The processes of this machine's user, out of /proc: found by what they are, ended by id."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serve_app.machine.port_owner import listeners

PROC = Path("/proc")
HAPROXY = "haproxy"
ITS_MANAGER = "ray::HAProxyMan"
"""The kernel's name of Ray's actor that starts HAProxy and has it as its child."""

AGENTS = ("ray::DashboardA", "ray::RuntimeEnv")
THEIR_PARENT = "raylet"
"""The kernel's names of a node's two agents, and of what starts them. One that is killed leaves
them behind, and with them the port of the next one's."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process: its id, its parent's id, its name and its command line."""

    pid: int
    parent: int
    name: str
    argv: tuple[str, ...]

    @property
    def environment(self) -> list[str]:
        """`NAME=value` as it was started with; empty where that cannot be read."""
        with contextlib.suppress(OSError):
            return (
                (PROC / str(self.pid) / "environ").read_bytes().decode(errors="replace").split("\0")
            )
        return []

    @property
    def sockets(self) -> set[int]:
        """Inodes of its open sockets."""
        return {int(x[8:-1]) for x in self._open if x.startswith("socket:[")}

    @property
    def files(self) -> set[Path]:
        """Its open files."""
        return {Path(x) for x in self._open if x.startswith("/")}

    @property
    def _open(self) -> Iterator[str]:
        with contextlib.suppress(OSError):
            for path in (PROC / str(self.pid) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    yield str(path.readlink())


def read(pid: int) -> Process | None:
    """Read a process as it is now; None if it has ended or is another user's."""
    folder = PROC / str(pid)
    try:
        if folder.stat().st_uid != os.geteuid():
            return None
        argv = _strings(folder / "cmdline")
        stat = (folder / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name is in parentheses, and may hold any of them.
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return Process(pid, int(rest.split()[1]), name, tuple(argv))


def _strings(path: Path) -> list[str]:
    return path.read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")


def ours() -> Iterator[Process]:
    """Every process of this user."""
    for path in PROC.glob("[0-9]*"):
        found = read(int(path.name))
        if found is not None:
            yield found


def is_haproxy_of(process: Process, folder: Path) -> bool:
    """Whether it is a HAProxy whose configuration lies in this directory."""
    argv = process.argv
    is_haproxy = Path(argv[0]).name == HAPROXY and "-f" in argv[1:-1]
    return is_haproxy and folder in Path(argv[argv.index("-f") + 1]).parents


def leftovers(folder: Path) -> list[Process]:
    """Find what holds ports of a deployment of this directory that has ended.

    HAProxies whose manager is gone, and Ray's agents whose raylet is.
    """
    everybody = list(ours())
    found = [(x, ITS_MANAGER) for x in everybody if is_haproxy_of(x, folder)]
    found += [(x, THEIR_PARENT) for x in everybody if is_agent_of(x, folder)]
    return [process for process, parent in found if not _is_child_of(process, parent)]


def is_agent_of(process: Process, folder: Path) -> bool:
    """Whether it is one of Ray's agents of this directory.

    Known by its open files: its title overwrites its arguments and some of its environment.
    """
    if not process.name.startswith(AGENTS):
        return False
    # As the kernel names open files, without links.
    sessions = (folder / "ray").resolve()
    return any(sessions in file.parents for file in process.files)


def holder(port: int) -> str:
    """Name the processes of this user that listen on a port, for a message."""
    inodes = {x.inode for x in listeners() if x.port == port}
    found = [f"{x.name} (process {x.pid})" for x in ours() if x.sockets & inodes]
    return ", ".join(found) or "a process of another user"


def _is_child_of(process: Process, name: str) -> bool:
    # Whoever the kernel says owns it: one that may not be looked into lives all the same.
    with contextlib.suppress(OSError):
        return (PROC / str(process.parent) / "comm").read_text(errors="replace").startswith(name)
    return False


def end(process: Process, within_s: float = 0.0, number: int = signal.SIGTERM) -> bool:
    """Send a signal, unless another process has the id by now; return whether it has ended."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return True
    try:
        if read(process.pid) == process:
            signal.pidfd_send_signal(fd, number)
            return bool(select.select([fd], [], [], within_s)[0])
    except OSError:
        # It has ended between the two.
        pass
    finally:
        os.close(fd)
    return True
