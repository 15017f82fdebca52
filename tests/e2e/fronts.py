"""nginx and Caddy with the configurations under deploy/tls, on ports of the tests' own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.support.deployment import ROOT, end_group
from tests.e2e.support import eventually

NGINX = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    include {folder}/site.conf;
}}
"""


@dataclass(frozen=True)
class Front:
    """A TLS front: its URL, and a context that trusts it."""

    url: str
    trust: ssl.SSLContext


def program(name: str) -> str:
    """Its path; without it a test fails where it must not be left out, and is skipped elsewhere."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if path is None:
        told = f"{name} is not installed: scripts/install-observe tests"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    return path


def nginx_command(folder: Path, port: int) -> list[str]:
    """nginx with deploy/tls/nginx.conf, whose port, user and certificate are the tests'."""
    found = program("nginx")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "fullchain.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    site = (ROOT / "deploy/tls/nginx.conf").read_text()
    for theirs, ours in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/pointsman", str(folder)),
    ):
        assert theirs in site
        site = site.replace(theirs, ours)
    (folder / "site.conf").write_text(site)
    # Its workers write large bodies into the folder, which is ours.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, user=user))
    return [found, "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]


def caddy_command(folder: Path) -> list[str]:
    """Caddy with deploy/tls/Caddyfile; the name is in its environment."""
    found = program("caddy")
    text = (ROOT / "deploy/tls/Caddyfile").read_text()
    quiet = "{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n\tservers"
    assert text.count("{\n\tservers") == 1
    (folder / "Caddyfile").write_text(text.replace("{\n\tservers", quiet))
    return [found, "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextlib.contextmanager
def front(kind: str, folder: Path) -> Iterator[Front]:
    """The front, once it answers with its certificate."""
    port = free_port()
    url = f"https://localhost:{port}"
    folder.chmod(0o755)
    env = {**os.environ, "XDG_DATA_HOME": str(folder), "HOME": str(folder), "POINTSMAN_NAME": url}
    if kind == "nginx":
        command, certificate = nginx_command(folder, port), folder / "fullchain.pem"
    else:
        command = caddy_command(folder)
        certificate = folder / "caddy/pki/authorities/local/root.crt"
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            eventually(_accepts(process, port, certificate, folder / "log"))
            yield Front(url, ssl.create_default_context(cafile=str(certificate)))
        finally:
            end_group(process)


def _accepts(
    process: subprocess.Popen[bytes], port: int, certificate: Path, log: Path
) -> Callable[[], bool]:
    def look() -> bool:
        assert process.poll() is None, log.read_text()
        # Caddy listens, and has its root, before it has a certificate to show.
        with contextlib.suppress(OSError):
            trust = ssl.create_default_context(cafile=str(certificate))
            with socket.create_connection(("localhost", port), 1) as plain:
                trust.wrap_socket(plain, server_hostname="localhost").close()
                return True
        return False

    return look
