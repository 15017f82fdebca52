"""`pointsman tools import`: what an MCP server of 2026-07-28 lists becomes a file."""

import json

import pytest

from serve_app.cli import main
from serve_app.commands import mcp
from serve_app.registry.files import read_file
from serve_app.registry.tool_set import CHAT
from tests.unit.serve_app.commands.mcp_server import SCHEMA, McpServer, a_tool, said, serving


def run(tmp_path, server, *more) -> int:
    folder = str(tmp_path / "tools")
    return main(["tools", "import", "crm", "--mcp", server.url, "--folder", folder, *more])


@pytest.mark.parametrize("streams", [False, True])
def test_the_tools_of_all_pages_are_the_sets_next_version(tmp_path, capsys, streams):
    """Whole or as an event stream with notifications before the answer."""
    pages = [[a_tool("find.person")], [], [a_tool("add_note", title="Note", annotations={})]]
    with serving(McpServer(pages, streams=streams)) as server:
        assert run(tmp_path, server) == 0
        assert run(tmp_path, server) == 0

    first = read_file(tmp_path / "tools" / "crm-1.yaml")
    second = read_file(tmp_path / "tools" / "crm-2.yaml")
    assert (first.label, second.label) == ("crm@1", "crm@2")
    assert first.names == ("add_note", "find.person")
    said_of = first.forms[CHAT].tools[0]["function"]
    assert said_of["description"] == "What add_note does."
    assert said_of["parameters"] == SCHEMA
    out = capsys.readouterr().out
    assert "2 tools of people 1.2" in out and "promote crm@1" in out
    methods = [method for method, _, _ in server.asked]
    assert methods == ["server/discover", *["tools/list"] * 3] * 2
    assert {message["id"] for _, _, message in server.asked} == {1, 2, 3, 4}


REGION = {"x-mcp-header": "Region"}


def test_what_no_set_can_use_is_left_out_and_named(tmp_path, capsys):
    """One bad tool does not take the others away; a name cannot steer the terminal."""

    def mirrored(**schema):
        return {"type": "object", "properties": {"region": {"type": "string", **schema}}}

    page = [
        a_tool("good", inputSchema=mirrored(**REGION)),
        a_tool("bad\x1b[31m", inputSchema=mirrored(**{"x-mcp-header": "a b"})),
        a_tool("number", inputSchema=mirrored(**{"x-mcp-header": "N", "type": "number"})),
        a_tool(
            "deep", inputSchema={"type": "object", "allOf": [mirrored(**{"x-mcp-header": "R"})]}
        ),
        a_tool("none", inputSchema=None),
        {"description": "nameless", "inputSchema": SCHEMA},
        a_tool("same_word", inputSchema={"type": "object", "properties": {"x-mcp-header": {}}}),
    ]
    with serving(McpServer([page])) as server:
        assert run(tmp_path, server, "--json") == 0

    told = json.loads(capsys.readouterr().out)
    assert told["tools"] == ["good", "same_word"]
    assert [x.split(":")[0] for x in told["left_out"]] == [
        "bad?[31m",
        "number",
        "deep",
        "none",
        "None",
    ]
    found = read_file(tmp_path / "tools" / "crm-1.yaml").forms[CHAT].tools
    assert found[0]["function"]["parameters"] == mirrored()
    assert "x-mcp-header" in found[1]["function"]["parameters"]["properties"]


def test_a_credential_comes_from_the_environment_and_is_not_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CRM_TOKEN", "s3cret-token")
    header = "Authorization: Bearer $CRM_TOKEN"
    with serving(McpServer(token="s3cret-token")) as server:
        assert run(tmp_path, server, "--header", header) == 0
        assert run(tmp_path, server) == 1
        assert run(tmp_path, server, "--header", "Authorization: Bearer $NO_SUCH_TOKEN") == 1
        assert run(tmp_path, server, "--header", "nonsense") == 1
        assert run(tmp_path, server, "--header", "a b: c") == 1

    told = capsys.readouterr()
    assert "it wants a credential" in told.err
    assert "NO_SUCH_TOKEN is not set" in told.err
    written = (tmp_path / "tools" / "crm-1.yaml").read_text()
    assert "s3cret-token" not in written + told.out + told.err


@pytest.mark.security
@pytest.mark.parametrize("token", ["s3cret-token\nx: y", "s3cret-t\u00f6ken", "s3cret-token\x1b"])
def test_a_credential_that_is_no_headers_value_is_not_told(tmp_path, monkeypatch, capsys, token):
    monkeypatch.setenv("CRM_TOKEN", token)
    with serving(McpServer()) as server:
        assert run(tmp_path, server, "--header", "Authorization: Bearer $CRM_TOKEN") == 1

    told = capsys.readouterr()
    assert "Authorization is not one line of ASCII" in told.err
    assert "s3cret" not in told.out + told.err


def test_a_credential_with_the_newline_of_its_file_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("CRM_TOKEN", "s3cret-token\n")
    with serving(McpServer(token="s3cret-token")) as server:
        assert run(tmp_path, server, "--header", "Authorization: Bearer $CRM_TOKEN") == 0


NOT_FOUND = (404, "application/json", said({"id": 1, "error": {"code": -32601, "message": "?"}}))
SESSION = (400, "application/json", said({"id": None, "error": {"code": -32000, "message": "s"}}))


@pytest.mark.parametrize(
    "server",
    [
        McpServer(versions=["2025-11-25"]),
        McpServer(wrong={"server/discover": NOT_FOUND}),
        McpServer(wrong={"server/discover": (404, "text/plain", b"Not found")}),
        McpServer(wrong={"server/discover": (405, "text/html", b"")}),
        McpServer(
            wrong={
                "server/discover": (
                    200,
                    "application/json",
                    said({"id": 1, "result": {"supportedVersions": ["2025-06-18"]}}),
                )
            }
        ),
    ],
    ids=["says so", "no such method", "no MCP", "other methods", "older ones alone"],
)
def test_an_older_revision_is_refused_in_clear_words(tmp_path, capsys, server):
    """It is not tried with a handshake."""
    with serving(server):
        assert run(tmp_path, server) == 1

    told = capsys.readouterr().err
    assert "does not speak MCP 2026-07-28" in told and "initialize" in told
    assert {method for method, _, _ in server.asked} == {"server/discover"}
    assert not (tmp_path / "tools").exists()


def result(number, **members):
    return (200, "application/json", said({"id": number, "result": members}))


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (McpServer(capabilities={"prompts": {}}), "has no tools"),
        (McpServer(wrong={"server/discover": SESSION}), "refused server/discover"),
        (McpServer(wrong={"tools/list": (302, "text/plain", b"")}), "name that address"),
        (McpServer(wrong={"tools/list": (500, "text/plain", b"oops")}), "status 500"),
        (McpServer(wrong={"tools/list": (200, "text/html", b"<p>")}), "refused tools/list"),
        (McpServer(wrong={"tools/list": result(9, tools=[])}), "refused tools/list"),
        (McpServer(wrong={"tools/list": result(2, tools="x")}), "no array"),
        (McpServer(wrong={"tools/list": result(2, tools=[], nextCursor=1)}), "no text"),
        (
            McpServer(wrong={"tools/list": result(2, resultType="input_required")}),
            "more for tools/list than a command can give",
        ),
        (McpServer([[]]), "tools: "),
        (McpServer([[a_tool("a b")]]), "tools.0.name"),
        (McpServer([[a_tool("t")]] * (mcp.MAX_PAGES + 1)), "pages"),
        (McpServer([[a_tool("t")] * (mcp.MAX_TOOLS + 1)]), "more than"),
        (
            McpServer(wrong={"tools/list": (200, "application/json", b" " * (mcp.MAX_BYTES + 1))}),
            "bytes",
        ),
        (
            McpServer(wrong={"tools/list": (200, "application/json", b"[" * 100_000)}),
            "refused tools/list",
        ),
    ],
)
def test_what_cannot_be_imported_leaves_no_file(tmp_path, capsys, server, reason):
    with serving(server):
        assert run(tmp_path, server) == 1

    assert reason in capsys.readouterr().err
    assert not list((tmp_path / "tools").glob("*")) if (tmp_path / "tools").exists() else True


def test_a_server_that_takes_too_long_is_left(tmp_path, capsys, monkeypatch):
    """The bound is one for all that is asked."""
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr(mcp.time, "monotonic", lambda: float(next(clock)))
    with serving(McpServer([[a_tool(f"t{i}")] for i in range(9)])) as server:
        assert run(tmp_path, server) == 1

    assert "took longer than 60 s" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "http://", "crm"])
def test_only_http_is_asked(tmp_path, capsys, url):
    assert main(["tools", "import", "crm", "--mcp", url, "--folder", str(tmp_path)]) == 1
    assert "no http:// or https:// address" in capsys.readouterr().err


def test_nothing_answers(tmp_path, capsys):
    with serving(McpServer()) as server:
        pass

    assert run(tmp_path, server) == 1
    assert "cannot be asked" in capsys.readouterr().err


def test_a_version_that_is_there_is_not_written_over(tmp_path, capsys):
    with serving(McpServer()) as server:
        assert run(tmp_path, server, "--version", "3") == 0
        before = (tmp_path / "tools" / "crm-3.yaml").read_bytes()
        server.pages = [[a_tool("other")]]
        assert run(tmp_path, server, "--version", "3") == 1

    assert "a version never changes" in capsys.readouterr().err
    assert (tmp_path / "tools" / "crm-3.yaml").read_bytes() == before
    assert [x.name for x in (tmp_path / "tools").iterdir()] == ["crm-3.yaml"]
