"""A request's head as the parser gives it, and as ASGI has it."""

from __future__ import annotations

import urllib.parse
from typing import Any, NamedTuple

import httptools
from starlette.types import Scope

from serve_app.front.doorway import readable
from serve_app.front.listener.answer_head import header_lines
from serve_app.front.listener.refusals import OTHER_CODING, OTHER_VERSION, Refused

Lines = list[tuple[bytes, bytes]]

_ASGI = {"version": "3.0", "spec_version": "2.3"}
_READ = frozenset({b"connection", b"content-length", b"expect", b"transfer-encoding", b"upgrade"})


class Ends(NamedTuple):
    """Addresses of both ends of a connection, as ASGI has them."""

    server: tuple[str, int | None] | None
    client: tuple[str, int] | None


class RequestHead:
    """One request's head while it arrives, then whole.

    Attributes:
        lines: in their order, names in small letters.
        expects: the client waits for `100 Continue`.
        asks_for_socket: it wants the connection to be a WebSocket's.
        framing: the lines that say where the body ends.

    """

    __slots__ = ("asks_for_socket", "expects", "framing", "is_old", "lines", "method", "url")

    def __init__(self) -> None:
        self.url, self.method = b"", b""
        self.lines: Lines = []
        self.framing: Lines = []
        self.expects = self.asks_for_socket = self.is_old = False

    def read(self, method: bytes, version: str) -> None:
        """Look at what concerns the connection. Raises Refused."""
        self.method, self.is_old = method, version == "1.0"
        if version not in ("1.1", "1.0"):
            raise Refused(OTHER_VERSION)
        upgrade, connection = b"", b""
        for name, value in self.lines:
            if name not in _READ:
                continue
            if name == b"expect":
                self.expects = self.expects or value.lower() == b"100-continue"
            elif name == b"upgrade":
                upgrade = value.lower()
            elif name == b"connection":
                connection += b"," + value.lower()
            else:
                self.framing.append((name, value))
                if name == b"transfer-encoding" and value.lower() != b"chunked":
                    raise Refused(OTHER_CODING)
        if self.is_old:
            # Neither is of HTTP/1.0.
            self.expects = False
        elif upgrade == b"websocket" and not self.has_body:
            self.asks_for_socket = b"upgrade" in [x.strip() for x in connection.split(b",")]

    @property
    def is_last(self) -> bool:
        """Whether no request can follow it on its connection."""
        return self.is_old or self.method == b"CONNECT"

    @property
    def length(self) -> int:
        """Bytes of the body, where a line says so."""
        return sum(int(value) for name, value in self.framing if name == b"content-length")

    @property
    def has_body(self) -> bool:
        return any(value.strip(b"0") for _, value in self.framing)

    def scope(self, ends: Ends, root_path: str, state: dict[str, Any]) -> Scope:
        """Return the scope of a whole head. Raises HttpParserInvalidURLError, ValueError."""
        url = httptools.parse_url(self.url)
        if url.path is None:
            raise ValueError("a URL without a path")
        path = url.path.decode("ascii")
        if "%" in path:
            path = urllib.parse.unquote(path)
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": "1.0" if self.is_old else "1.1",
            "method": self.method.decode("ascii"),
            "scheme": "http",
            "path": root_path + path,
            "raw_path": root_path.encode() + url.path,
            "query_string": url.query or b"",
            "root_path": root_path,
            "headers": readable(self.lines),
            "server": ends.server,
            "client": ends.client,
            "state": state,
        }

    def raw(self) -> bytes:
        """Return the head as it came, for another protocol to read."""
        first = (self.method, b" ", self.url, b" HTTP/1.1\r\n")
        return b"".join((*first, header_lines(self.lines), b"\r\n"))

    def without_upgrade(self) -> bytes:
        """Return a head by which a parser reads the body of a request that is not upgraded.

        The parser takes what follows a head with `Upgrade` for another protocol's, while to a
        server that does not upgrade (RFC 9110, 7.8) it is the body, and then the next request.
        """
        return b"POST / HTTP/1.1\r\n" + header_lines(self.framing) + b"\r\n"
