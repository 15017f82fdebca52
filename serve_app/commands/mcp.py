"""Listing the tools of an MCP server: streamable HTTP of the revision 2026-07-28 alone.

That revision keeps no state: there is no `initialize` and no session. Each request says its
revision and what the client can do, in `_meta` and in headers, and is answered by itself, with
JSON or with an event stream that ends with the answer. `server/discover` is asked first: it is
what a server of an older revision does not have.
(https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http)

Only the operator's command comes here; no request of a client's makes Pointsman call out.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from serve_app.commands.client import CommandError

REVISION = "2026-07-28"
WITHIN_S = 60.0
"""For everything that one import asks."""

SILENT_S = 15.0
MAX_BYTES = 4 * 2**20
"""Of all answers together."""

MAX_PAGES = 64
MAX_TOOLS = 1024
"""Read of a server; a set has room for fewer."""

METHOD_NOT_FOUND, HEADER_MISMATCH, UNSUPPORTED_REVISION = -32601, -32020, -32022
_META = "io.modelcontextprotocol/"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_MIRRORED = frozenset({"string", "integer", "boolean"})

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Listed:
    """What a server has, and what was left out of it and why."""

    server: str
    tools: list[Data]
    left_out: list[str]


def list_tools(url: str, headers: Mapping[str, str] | None = None) -> Listed:
    """Ask a server for all of its tools. Raises CommandError."""
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise CommandError(f"--mcp: '{url}' is no http:// or https:// address")
    server = _Server(url, dict(headers or {}))
    found = server.ask("server/discover", {})
    versions = found.get("supportedVersions")
    if not isinstance(versions, list) or REVISION not in versions:
        raise CommandError(_too_old(url, versions))
    capabilities = found.get("capabilities")
    if not isinstance(capabilities, dict) or "tools" not in capabilities:
        raise CommandError(f"{url}: says that it has no tools")
    tools, left_out = [], []
    for tool in _pages(server):
        wrong = _unusable(tool)
        if wrong is None:
            tools.append(tool)
        else:
            left_out.append(f"{printable(tool.get('name'))}: {wrong}")
    return Listed(_named(found), tools, left_out)


def _pages(server: _Server) -> Iterator[Data]:
    cursor, seen = None, 0
    for _ in range(MAX_PAGES):
        page = server.ask("tools/list", {} if cursor is None else {"cursor": cursor})
        tools = page.get("tools")
        if not isinstance(tools, list) or not all(isinstance(x, dict) for x in tools):
            raise CommandError(f"{server.url}: 'tools' of its answer is no array of objects")
        seen += len(tools)
        if seen > MAX_TOOLS:
            raise CommandError(f"{server.url}: has more than {MAX_TOOLS} tools")
        yield from tools
        cursor = page.get("nextCursor")
        if cursor is None:
            return
        if not isinstance(cursor, str):
            raise CommandError(f"{server.url}: 'nextCursor' of its answer is no text")
    raise CommandError(f"{server.url}: its list has more than {MAX_PAGES} pages")


class _Server:
    """One server, within one bound of time and one of bytes."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url = url
        self._headers = headers
        self._number = 0
        self._left_bytes = MAX_BYTES
        self._deadline = time.monotonic() + WITHIN_S
        # No redirects: credentials would go along.
        self._opener = urllib.request.build_opener(_Stays)

    def ask(self, method: str, params: Data) -> Data:
        """The result of one method."""
        self._number += 1
        meta = {
            f"{_META}protocolVersion": REVISION,
            f"{_META}clientInfo": {"name": "pointsman", "version": "0.1.0"},
            f"{_META}clientCapabilities": {},
        }
        asked = {"jsonrpc": "2.0", "id": self._number, "method": method}
        body = json.dumps({**asked, "params": {**params, "_meta": meta}}).encode()
        status, kind, raw = self._post(method, body)
        answer = self._answer(kind, raw)
        if answer is None or "error" in answer:
            raise CommandError(self._refusal(method, status, answer))
        result = answer.get("result")
        if status != 200 or not isinstance(result, dict):
            raise CommandError(f"{self.url}: answered {method} with status {status}, no result")
        if result.get("resultType", "complete") != "complete":
            raise CommandError(f"{self.url}: wants more for {method} than a command can give")
        return result

    def _post(self, method: str, body: bytes) -> tuple[int, str, bytes]:
        # The address is the operator's own, and its scheme was looked at.
        request = urllib.request.Request(  # noqa: S310
            self.url,
            body,
            {
                **self._headers,
                "content-type": "application/json",
                "accept": "application/json, text/event-stream",
                "mcp-protocol-version": REVISION,
                "mcp-method": method,
            },
        )
        try:
            with self._opened(request) as response:
                return response.status, *self._read(response)
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise CommandError(f"{self.url}: cannot be asked: {reason}") from error

    def _opened(self, request: urllib.request.Request) -> Any:
        try:
            return self._opener.open(request, timeout=self._patience())
        except urllib.error.HTTPError as error:
            return error  # an answer like any other

    def _patience(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CommandError(f"{self.url}: took longer than {WITHIN_S:g} s")
        return min(left, SILENT_S)

    def _read(self, response: Any) -> tuple[str, bytes]:
        """Media type and body; of an event stream, what came until its answer was there."""
        kind = response.headers.get_content_type()
        parts: list[bytes] = []
        while part := response.read1(65_536):
            parts.append(part)
            self._left_bytes -= len(part)
            if self._left_bytes < 0:
                raise CommandError(f"{self.url}: answers with more than {MAX_BYTES} bytes")
            self._patience()
            if kind == "text/event-stream" and self._answer(kind, b"".join(parts)):
                break  # a server need not end the stream
        return kind, b"".join(parts)

    def _answer(self, kind: str, raw: bytes) -> Data | None:
        """The JSON-RPC response to this request; None: there is none."""
        texts = _events(raw) if kind == "text/event-stream" else [raw]
        for text in texts:
            try:
                said = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if not isinstance(said, dict) or not ("result" in said or "error" in said):
                continue  # a notification
            # An error whose request could not be read has no id.
            if said.get("id") == self._number or ("error" in said and said.get("id") is None):
                return said
        return None

    def _refusal(self, method: str, status: int, answer: Data | None) -> str:
        error = answer.get("error") if answer is not None else None
        given = error if isinstance(error, dict) else {}
        code, data = given.get("code"), given.get("data")
        if code == UNSUPPORTED_REVISION:
            return _too_old(self.url, data.get("supported") if isinstance(data, dict) else None)
        if status in (401, 403):
            return f"{self.url}: {status}: it wants a credential (--header 'Authorization: …')"
        if status // 100 == 3:
            return f"{self.url}: answers elsewhere (status {status}): name that address"
        is_first = method == "server/discover"
        if is_first and code != HEADER_MISMATCH and (answer is None or code == METHOD_NOT_FOUND):
            return _too_old(self.url, None) + f" It answered {method} with status {status}."
        said = printable(given.get("message", ""))
        return f"{self.url}: refused {method} (status {status}, code {code}): {said}"


class _Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirect; the operator names the address that answers."""

    def redirect_request(self, *_: Any) -> None:
        """Return nothing: the redirect is then the answer, and an error."""


def _events(raw: bytes) -> Iterator[bytes]:
    """The data of each whole event."""
    text = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for event in text.split(b"\n\n")[:-1]:
        lines = [x[5:].removeprefix(b" ") for x in event.split(b"\n") if x.startswith(b"data:")]
        if lines:
            yield b"\n".join(lines)


def _too_old(url: str, versions: object) -> str:
    spoken = ""
    if isinstance(versions, list) and versions:
        spoken = f" It speaks {', '.join(map(printable, versions[:10]))}."
    return (
        f"{url}: does not speak MCP {REVISION}, the revision without sessions; older ones, which "
        f"begin with `initialize`, are not supported: update the server.{spoken}"
    )


def _named(found: Data) -> str:
    meta = found.get("_meta")
    info = found.get("serverInfo") or (meta or {}).get(f"{_META}serverInfo")
    if not isinstance(info, dict):
        return ""
    return " ".join(printable(info[x]) for x in ("name", "version") if info.get(x))


def printable(value: object) -> str:
    """A few words of a server's, without what would steer a terminal."""
    return "".join(x if x.isprintable() else "?" for x in str(value)[:200])


def _unusable(tool: Data) -> str | None:
    """Say why a tool has to be left out: that of one does not take the others away."""
    schema = tool.get("inputSchema")
    if not isinstance(tool.get("name"), str):
        return "has no name"
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return "has no 'inputSchema' of an object"
    names: set[str] = set()
    for value, is_reachable in _annotated(schema):
        name = value.get("x-mcp-header")
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            return "has an 'x-mcp-header' that is no header's name"
        if not is_reachable or value.get("type") not in _MIRRORED or name.casefold() in names:
            return f"has an 'x-mcp-header' ({printable(name)}) where the revision allows none"
        names.add(name.casefold())
    return None


def _annotated(schema: Data) -> Iterator[tuple[Data, bool]]:
    """Parts of a schema with `x-mcp-header`, and whether properties alone lead there."""
    waiting: list[tuple[Any, bool, bool]] = [(schema, True, False)]
    while waiting:
        value, is_reachable, are_names = waiting.pop()
        if isinstance(value, list):
            waiting += [(inner, False, False) for inner in value]
        elif isinstance(value, dict):
            if "x-mcp-header" in value and not are_names:
                yield value, is_reachable and value is not schema
            for key, inner in value.items():
                leads = is_reachable and (are_names or key == "properties")
                waiting.append((inner, leads, key == "properties" and not are_names))
