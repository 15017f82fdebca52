"""A small MCP server of the revision 2026-07-28, which checks what it is asked."""

import contextlib
import http.server
import json
import threading
from dataclasses import dataclass, field

REVISION = "2026-07-28"
META = "io.modelcontextprotocol/"
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


def a_tool(name, **more) -> dict:
    return {"name": name, "description": f"What {name} does.", "inputSchema": SCHEMA, **more}


@dataclass
class McpServer:
    """What it has and how it behaves.

    `pages`: of its list. `streams`: it answers with an event stream. `wrong`: an answer by
    method, in place of its own: status, media type, bytes.
    """

    pages: list = field(default_factory=lambda: [[a_tool("find_person")]])
    streams: bool = False
    capabilities: dict = field(default_factory=lambda: {"tools": {}})
    versions: list = field(default_factory=lambda: [REVISION])
    wrong: dict = field(default_factory=dict)
    token: str = ""
    asked: list = field(default_factory=list)
    url: str = ""

    def answer(self, headers, message) -> tuple[int, str, bytes]:
        """Status, media type and body."""
        method = message["method"]
        self.asked.append((method, dict(headers), message))
        if method in self.wrong:
            return self.wrong[method]
        number = message["id"]
        if self.token and headers["authorization"] != f"Bearer {self.token}":
            return 401, "text/plain", b"no"
        fault = self.fault(headers, message)
        if fault is not None:
            return 400, "application/json", said({"id": number, "error": fault})
        return 200, *self.wrapped(said({"id": number, "result": self.result(method, message)}))

    def fault(self, headers, message) -> dict | None:
        """What the revision has a server refuse."""
        meta = message["params"]["_meta"]
        version = meta[f"{META}protocolVersion"]
        mirrored = headers["mcp-protocol-version"], headers["mcp-method"]
        accepted = headers["accept"].split(", ")
        if mirrored != (version, message["method"]):
            return {"code": -32020, "message": "Header mismatch"}
        if not isinstance(meta[f"{META}clientCapabilities"], dict) or set(accepted) != {
            "application/json",
            "text/event-stream",
        }:
            return {"code": -32602, "message": "Invalid params"}
        if version not in self.versions:
            data = {"supported": self.versions, "requested": version}
            return {"code": -32022, "message": "Unsupported protocol version", "data": data}
        return None

    def result(self, method, message) -> dict:
        info = {"name": "people", "version": "1.2"}
        if method == "server/discover":
            return {
                "resultType": "complete",
                "supportedVersions": self.versions,
                "capabilities": self.capabilities,
                "serverInfo": info,
            }
        assert method == "tools/list"
        number = int(message["params"].get("cursor", "0"))
        more = {"nextCursor": str(number + 1)} if number + 1 < len(self.pages) else {}
        return {"resultType": "complete", "tools": self.pages[number], "ttlMs": 0, **more}

    def wrapped(self, answer) -> tuple[str, bytes]:
        if not self.streams:
            return "application/json", answer
        note = said({"method": "notifications/message", "params": {"data": "hm"}})
        events = b": comment\r\n\r\ndata: " + note + b"\r\n\r\n"
        return "text/event-stream", events + b"event: message\r\ndata: " + answer + b"\r\n\r\n"


def said(message) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}).encode()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers and hangs up; a server may not push anything on its own."""

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        status, kind, body = self.server.mcp.answer(self.headers, json.loads(raw))
        self.send_response(status)
        self.send_header("content-type", kind)
        if 300 <= status < 400:
            self.send_header("location", self.server.mcp.url + "/elsewhere")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Nothing: the tests read what was asked."""


@contextlib.contextmanager
def serving(server: McpServer):
    """The server on a port of this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.mcp = server
        server.url = f"http://127.0.0.1:{made.server_port}/mcp"
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            made.shutdown()
            thread.join()
