"""What nobody else may write or read: Ray's and HAProxy's directory, and Ray's token.

Whoever can write into Ray's directory says which cluster its client talks to, and gets
the token; whoever has the token runs code as us.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from serve_app.config.errors import ConfigError
from serve_app.machine.port_owner import ROOT, is_trusted

MAX_RUN_CHARS = 27
"""A Unix socket's path may have 97 characters in HAProxy, and `/NODE_ID/metrics.sock` is 70."""

ACTIVATE = (
    "start it by 'pointsman serve' (Ray's own commands by 'pointsman run'), or in a checkout "
    "run 'source .venv/bin/activate' in this shell and start again"
)


def run_dir() -> Path:
    """Return the directory of Ray's and HAProxy's files, or raise ConfigError."""
    given = os.environ.get("POINTSMAN_RUN")
    if not given:
        raise ConfigError(f"the settings of Ray are not in this environment: {ACTIVATE}")
    if not given.startswith("/"):
        raise ConfigError(f"POINTSMAN_RUN={given} is not a whole path: let it begin with /")
    return Path(given)


def refuse_long(folder: Path) -> None:
    """Raise ConfigError where sockets in this directory would have paths that are too long."""
    size = len(os.fsencode(folder))
    if size > MAX_RUN_CHARS:
        raise ConfigError(
            f"POINTSMAN_RUN={folder} has {size} characters; {MAX_RUN_CHARS} is the most, "
            "because of the paths of the sockets in it"
        )


def refuse_shared(folder: Path) -> None:
    """Raise ConfigError if others may read the directory, or put another in its place."""
    mend = "set POINTSMAN_RUN to a short path that is yours alone, and activate again"
    try:
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}: {mend}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(f"{folder} is not a directory (nor may it be a link to one): {mend}")
    if found.st_uid != os.geteuid():
        raise ConfigError(f"{folder} belongs to another user: {mend}")
    if found.st_mode & 0o077:
        raise ConfigError(f"{folder} is open to others: run 'chmod 700 {folder}'")
    for parent in folder.absolute().parents:
        if _may_be_swapped(parent.stat()):
            raise ConfigError(f"{parent} may be written by others, {folder} with it: {mend}")


def _may_be_swapped(found: os.stat_result) -> bool:
    """Whether others can put something else in the place of what lies in this directory."""
    if found.st_uid not in (os.geteuid(), ROOT):
        return True
    return bool(found.st_mode & 0o022) and not found.st_mode & stat.S_ISVTX


def token_path() -> Path | None:
    """Where Ray looks for its token; None where the environment holds it."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return None
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(given) if given else Path.home() / ".ray" / "auth_token"


def keep_token_private() -> None:
    """Remove other users' rights to Ray's token; raise ConfigError if it is not ours."""
    path = token_path()
    if path is None or not path.exists():
        return
    for each, most in ((path.parent, 0o700), (path, 0o600)):
        found = each.stat()
        if found.st_uid not in (os.geteuid(), ROOT):
            raise ConfigError(f"{each} belongs to another user, who would have Ray's token")
        wider = stat.S_IMODE(found.st_mode) & ~most
        # A directory that has another name may hold other things, too.
        is_rays = each == path or each.name == ".ray"
        if wider & 0o077 and found.st_uid == os.geteuid() and is_rays:
            each.chmod(stat.S_IMODE(found.st_mode) & most)
        elif wider & 0o022 or (each == path and wider & 0o044):
            raise ConfigError(f"{each} is open to others: run 'chmod go= {each}'")


def forget_dead_ray(folder: Path) -> None:
    """Drop the name of a Ray of this machine that has ended without `ray stop`.

    Ray's client would try it for minutes, or whoever listens there by now. The head of a
    cluster on another machine is left alone.
    """
    path = folder / "ray" / "ray_current_cluster"
    try:
        host, _, port = path.read_text().strip().rpartition(":")
    except OSError:
        return
    if port.isdigit() and _is_here(host) and not is_trusted(int(port), host):
        path.unlink(missing_ok=True)


def _is_here(host: str) -> bool:
    """Whether it is an address of this machine."""
    try:
        socket.create_server((host, 0)).close()
    except OSError:
        return False
    return True
