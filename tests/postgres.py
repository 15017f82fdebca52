"""A Postgres server of the tests' own: in a folder of its own, for as long as the tests run."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pg8000.native import Connection

PASSWORD = "correct horse battery staple"

USER = "postgres"
"""Postgres refuses to run as root; Debian's package makes this user."""


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        folder: its socket, certificate (`server.crt`) and data.
        port: on loopback, with password and TLS; and of the socket, which asks for neither.

    """

    folder: Path
    port: int

    def made(self) -> str:
        """Make an empty database; return its name."""
        name = f"store_{uuid.uuid4().hex[:12]}"
        db = Connection(
            USER, unix_sock=f"{self.folder}/.s.PGSQL.{self.port}", host=None, database="postgres"
        )
        db.run(f"CREATE DATABASE {name} OWNER pointsman")
        db.close()
        return name

    def run(self, action: str) -> None:
        """`pg_ctl start`, `stop` or `restart`, and wait for it."""
        how = ["-o", f"-k {self.folder} -p {self.port}"] if action != "stop" else []
        # As a crash: without waiting for those who are connected.
        how += ["-m", "immediate"] if action != "start" else []
        data = ["-D", f"{self.folder}/data", "-l", f"{self.folder}/log", "-w"]
        _as_user(self.folder, _program("pg_ctl"), action, *data, *how)


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server; skips where Postgres is not installed, but in CI."""
    folder = Path(tempfile.mkdtemp(prefix="pm-postgres-"))
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    server = Server(folder, port)
    _program("pg_ctl")
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    try:
        _prepare(folder)
        server.run("start")
        try:
            admin = Connection(
                USER, unix_sock=f"{folder}/.s.PGSQL.{port}", host=None, database="postgres"
            )
            admin.run(f"CREATE ROLE pointsman LOGIN PASSWORD '{PASSWORD}'")
            admin.close()
            yield server
        finally:
            server.run("stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder: Path) -> None:
    data = folder / "data"
    _as_user(folder, _program("initdb"), "-D", str(data), "-U", USER, "-A", "trust", "--no-sync",
             "-E", "UTF8", "--locale", "C.UTF-8")  # fmt: skip
    _as_user(
        folder, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
        "-keyout", f"{data}/server.key", "-out", f"{data}/server.crt",
    )  # fmt: skip
    rules = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
    settings = "listen_addresses = '127.0.0.1'\nssl = on\nfsync = off\nmax_connections = 40\n"
    _as_user(folder, "sh", "-c", f"printf '{rules}' > {data}/pg_hba.conf")
    with (data / "postgresql.conf").open("a") as file:
        file.write(settings)
    shutil.copy(data / "server.crt", folder / "server.crt")


def _as_user(folder: Path, *command: str) -> None:
    """Run it, as a user that Postgres accepts."""
    user = None if os.geteuid() else pwd.getpwnam(USER).pw_uid
    group = None if user is None else pwd.getpwnam(USER).pw_gid
    done = subprocess.run(
        command, cwd=folder, user=user, group=group, extra_groups=[] if user else None,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, (command[0], done.stderr.decode(errors="replace"))


def _program(name: str) -> str:
    """Its path. Where it is not installed: a failure in CI, else a skip."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = str(debian[-1]) if debian else shutil.which(name)
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{name} is not installed; scripts/install-observe installs Postgres")
    return found or pytest.skip(f"{name} is not installed")


def until_usable(store, within_s: float = 20.0):
    """What `store.epoch()` says, once it says something."""
    end = time.monotonic() + within_s
    while True:
        try:
            return store.epoch()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
