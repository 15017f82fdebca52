"""One listening socket for all ingress replicas of a machine.

The socket that comes first is handed on to each later replica (SCM_RIGHTS), with the page of
their loads (`board`). A connection waits in one queue that all take from: none waits for a replica
that hangs, and none is reset when one ends while another is there. A newcomer finds whom to ask by
name. Names are abstract ones of Unix sockets, which are the network namespace's, as the port is,
and which end with their process. Both sides look whether the other is of the same user.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serve_app.front.listener.board import new_page
from serve_app.front.listener.steering import join

PROC_NET_UNIX = Path("/proc/net/unix")

ANSWERS_WITHIN_S = 1.0
"""Whoever is asked and does not answer in that time hangs."""


class NobodyAnswers(Exception):
    """Others hold the socket, or are just joining; ask again."""


@dataclass(frozen=True)
class Shared:
    """What all listeners of a machine hold together."""

    listening: socket.socket
    page: int

    def close(self) -> None:
        """Let both go; they are there as long as somebody else holds them."""
        self.listening.close()
        os.close(self.page)


class Offer:
    """Hands on what is shared, to whoever of this user asks. Ends with its process."""

    def __init__(self, family: str, shared: Shared) -> None:
        self._shared = shared
        self.asked = _bound(f"{family}/{secrets.token_hex(8)}")
        self.asked.listen(8)
        self.asked.setblocking(False)

    def answer(self) -> None:
        """Answer whoever asks now. Called when `asked` is readable."""
        with contextlib.suppress(OSError):
            asking, _ = self.asked.accept()
            with asking:
                if _is_ours(asking):
                    fds = [self._shared.listening.fileno(), self._shared.page]
                    socket.send_fds(asking, [b"\0"], fds)

    def close(self) -> None:
        """Hand on nothing more."""
        self.asked.close()


def family_of(host: str, port: int) -> str:
    """Name what listeners of one user on one address have in common."""
    return f"pointsman-listener/{os.geteuid()}/{host}:{port}"


def share(host: str, port: int, *, is_patient: bool = True) -> tuple[Shared, Offer]:
    """Take part in the shared socket, or begin it. Blocks for a second for each that hangs.

    Raises:
        NobodyAnswers: somebody has it, or is just beginning it.
        OSError: the port is not shared.

    Args:
        host: of the frontend's address.
        port: of the frontend's address.
        is_patient: not to begin another one while there is one that nobody hands on.

    """
    family = family_of(host, port)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_bound(f"{family}-joining"))
        except OSError as error:
            if is_patient:
                raise NobodyAnswers from error
        offers = _offers(family)
        found = next(filter(None, map(_ask, offers)), None)
        if found is None and offers and is_patient:
            raise NobodyAnswers
        shared = found or _begun(host, port)
        try:
            return shared, Offer(family, shared)
        except OSError:
            shared.close()
            raise


def _begun(host: str, port: int) -> Shared:
    listening = join(host, port)
    return Shared(listening, new_page())


def _offers(family: str) -> set[str]:
    lines = PROC_NET_UNIX.read_text().splitlines()
    names = (line.rpartition(" ")[2] for line in lines)
    return {name[1:] for name in names if name.startswith(f"@{family}/")}


def _ask(name: str) -> Shared | None:
    with contextlib.suppress(OSError), _unix() as asking:
        asking.settimeout(ANSWERS_WITHIN_S)
        asking.connect(f"\0{name}")
        if not _is_ours(asking):
            return None
        _, fds, _, _ = socket.recv_fds(asking, 1, 2, socket.MSG_CMSG_CLOEXEC)
        if len(fds) == 2:
            return _taken(*fds)
        for fd in fds:
            os.close(fd)
    return None


def _taken(listening: int, page: int) -> Shared:
    taken = socket.socket(fileno=listening)
    taken.setblocking(False)
    return Shared(taken, page)


@contextlib.contextmanager
def _unix() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        yield made


def _bound(name: str) -> socket.socket:
    """Return a Unix socket of this name; OSError where somebody has it."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(f"\0{name}")
    except OSError:
        made.close()
        raise
    return made


def _is_ours(peer: socket.socket) -> bool:
    """Whether the other side is of this user (unix(7), SO_PEERCRED: pid, uid, gid)."""
    told = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", told)[1]
    return uid == os.geteuid()
