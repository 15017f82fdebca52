"""`pointsman tools`: what it asks a deployment, and what it says of the answers."""

import http.server
import json
import threading

import pytest

from serve_app.cli import main
from tests.unit.serve_app.registry.tool_files import tool, write

VERSION = {"set": "crm@8", "sha256": "abc", "tools": ["find"], "bytes": 120}
LISTED = {
    "sets": [
        {"name": "crm", "promoted": 8, "previous": 7, "held_sessions": 2, "versions": [VERSION]}
    ],
    "refused": ["crm@7: edited"],
}
SHOWN = {**VERSION, "digest": "abcdef", "forms": {"/v1/chat/completions": [{"type": "function"}]}}
MOVED = {
    "ok": True,
    "promoted": "crm@8",
    "previous": "crm@7",
    "held_sessions": 2,
    "warmed": [{"lane": "chat", "prefixes": 3, "read": 3, "error": ""}],
}
COLD = {**MOVED, "ok": False, "error": "nothing was moved: …"}
BEFORE = {"ok": True, "promoted": "crm@8", "previous": None, "warmed": []}


class Deployment(http.server.BaseHTTPRequestHandler):
    """Answers each path with what the test gave it."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, None))
        self._say(self.server.answers[self.path])

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, json.loads(raw)))
        self._say(self.server.answers[self.path])

    def _say(self, answer) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        """Nothing."""


@pytest.fixture
def deployment():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Deployment) as made:
        made.asked, made.answers = [], {}
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def run(deployment, *words) -> int:
    url = f"http://127.0.0.1:{deployment.server_port}"
    return main(["tools", *words, "--url", url, "--key", "pm-x"])


@pytest.mark.parametrize(
    ("words", "path", "asked", "answer", "said", "status"),
    [
        (["list"], "/admin/tools", None, LISTED, "crm: stands for version 8, 2 sessions held", 0),
        (["list"], "/admin/tools", None, LISTED, "refused: crm@7: edited", 0),
        (["show", "crm@8"], "/admin/tools?set=crm%408", None, SHOWN, "sha256 abcdef", 0),
        (
            ["promote", "crm@8"],
            "/admin/tools/promote",
            {"set": "crm@8", "now": False, "force": False},
            MOVED,
            "crm@8, in place of crm@7\n2 sessions stay",
            0,
        ),
        (
            ["promote", "crm@8", "--now", "--force"],
            "/admin/tools/promote",
            {"set": "crm@8", "now": True, "force": True},
            COLD,
            "chat: read (3 prompts)",
            1,
        ),
        (
            ["promote", "crm@8"],
            "/admin/tools/promote",
            {"set": "crm@8", "now": False, "force": False},
            BEFORE,
            "crm@8 it was already",
            0,
        ),
        (
            ["rollback", "crm"],
            "/admin/tools/rollback",
            {"set": "crm", "force": False},
            {**MOVED, "warmed": [], "held_sessions": 0},
            "nothing to warm",
            0,
        ),
        (
            ["retire", "crm"],
            "/admin/tools/retire",
            {"set": "crm"},
            {"ok": True, "name": "crm"},
            "crm is offered no more",
            0,
        ),
    ],
)
def test_a_command_and_its_answer(deployment, capsys, words, path, asked, answer, said, status):
    deployment.answers[path] = answer

    assert run(deployment, *words) == status
    assert said in capsys.readouterr().out
    assert deployment.asked == [(path, asked)]
    assert run(deployment, *words, "--json") == status
    assert json.loads(capsys.readouterr().out) == answer


def test_a_form_that_is_none(deployment, capsys):
    deployment.answers["/admin/tools?set=crm%408"] = SHOWN

    assert run(deployment, "show", "crm@8", "--path", "/v1/x") == 1
    assert "--path is one of /v1/chat/completions" in capsys.readouterr().err


def test_lint_says_what_could_be_better(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("POINTSMAN_TOOLS", str(tmp_path))
    write(tmp_path, tools=[tool("get_it"), tool("getIt", description="")])

    assert main(["tools", "lint"]) == 0
    out = capsys.readouterr().out
    assert main(["tools", "lint", "--json"]) == 0

    assert "crm-7.yaml: crm@7, 2 tools" in out
    assert "alike: getIt, get_it" in out and "getIt: no_description" in out
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["set"], told["count"]) == ("crm@7", 2)


def test_lint_refuses_what_would_not_be_served(tmp_path, capsys):
    path = write(tmp_path, tools=[tool(examples=[{"arguments": {}}])])

    assert main(["tools", "lint", str(path)]) == 1
    assert "does not fit its schema" in capsys.readouterr().err


@pytest.mark.slow
def test_the_doctor_looks_at_every_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("POINTSMAN_TOOLS", str(tmp_path))
    write(tmp_path)
    (tmp_path / "crm-8.yaml").write_text("name: crm\n")

    main(["doctor", "--config", "local", "--json"])

    # vLLM may have said something before.
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    (found,) = [x for x in told if x["check"] == "tool sets"]
    assert not found["ok"] and "crm-8.yaml" in found["detail"]
