"""`pointsman connect`: what it prints, and that docs/clients.md says the same."""

from __future__ import annotations

import http.server
import json
import re
import threading
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import pytest

from serve_app.cli import build_parser, main
from serve_app.commands.connect import Setting, render
from serve_app.commands.connect_recipes import RECIPES

PAGE = (Path(__file__).parents[3] / "docs/clients.md").read_text()
HERE = Setting("http://127.0.0.1:8000", "auto", "auto", 32_768, has_key=False)
KEY = "pm-0123456789ab-secret_part-of_it"
ROOM = {"auto": 65_536, "chat": 4096, "org/large": 32_768, "claude-opus-4-8": 65_536}
LISTED = ["auto", "chat", "org/large"]

every_client = pytest.mark.parametrize("recipe", RECIPES, ids=lambda x: x.name)


def section_of(title: str) -> str:
    """What the page has under a heading, without line breaks of prose."""
    return PAGE.split(f"\n### {title}\n")[1].split("\n##")[0]


@every_client
def test_the_page_shows_what_is_printed(recipe):
    """Texts and notes, filled for a deployment on this machine."""
    section = section_of(recipe.title)
    prose = " ".join(section.split())

    for part in recipe.parts:
        assert f"```{part.language}\n{render(recipe, part, HERE)}```" in section
    for note in recipe.notes:
        assert f"- {note}" in prose


@every_client
def test_texts_can_be_read_by_what_they_are_for(recipe):
    """Whatever the values are; and no place is left empty."""
    odd = Setting("http://h:1", "org/'a' \"b\"", "small", 5000, has_key=True)
    for part in recipe.parts:
        text = render(recipe, part, odd)
        assert "<<" not in text
        if part.language == "json":
            assert json.loads(text)["model"] == "pointsman/org/'a' \"b\""
        if part.language == "python":
            compile(text, recipe.name, "exec")


class Deployment(http.server.BaseHTTPRequestHandler):
    """Has a list of models, and a card for each name that is known."""

    def do_GET(self) -> None:
        self.server.keys.add(self.headers.get("authorization"))
        name = unquote(self.path.removeprefix("/v1/models").removeprefix("/"))
        if not name:
            self._answer(200, {"data": [{"id": x} for x in LISTED]})
        elif name in ROOM:
            self._answer(200, {"id": name, "context_length": ROOM[name], "max_model_len": 65_536})
        else:
            self._answer(404, {"error": {"code": "model_not_found", "message": "None."}})

    def _answer(self, status, body) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("POINTSMAN_API_KEY", raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Deployment) as made:
        made.keys = set()
        thread = threading.Thread(target=partial(made.serve_forever, poll_interval=0.01))
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.fixture
def connect(server, capsys):
    """Runs the command; returns its exit status, and what it printed and complained of."""
    url = f"http://127.0.0.1:{server.server_address[1]}"

    def run(*args):
        status = main(["connect", *args, "--url", f"{url}/"])
        told = capsys.readouterr()
        return status, told.out.replace(url, "URL"), told.err

    return run


@every_client
def test_every_client_has_lines_for_this_deployment(connect, recipe):
    """The URL, the model, and its window where the client has a place for it."""
    status, told, _ = connect(recipe.name)

    assert status == 0
    assert "URL" in told and "URL//" not in told and "auto" in told
    assert "65,536 tokens of context" in told and "auto, chat, org/large" in told
    assert "<<" not in told


@every_client
def test_the_key_is_used_and_never_printed(connect, server, recipe):
    """Its id says which one is meant."""
    _, told, _ = connect(recipe.name, "--key", KEY)
    _, as_json, _ = connect(recipe.name, "--key", KEY, "--json")

    assert server.keys == {f"Bearer {KEY}"}
    assert "secret" not in told + as_json
    assert "pm-0123456789ab-…" in told and "POINTSMAN_API_KEY" in told
    assert json.loads(as_json)["key_variable"] == "POINTSMAN_API_KEY"


def test_json_has_the_same(connect):
    """For scripts."""
    _, told, _ = connect("opencode", "--model", "org/large", "--json")

    found = json.loads(told)
    assert (found["url"], found["model"], found["models"]) == ("URL", "org/large", LISTED)
    assert (found["context_length"], found["max_output_tokens"]) == (32_768, 8_192)
    assert found["key_variable"] is None
    [part] = found["parts"]
    limit = json.loads(part["text"])["provider"]["pointsman"]["models"]["org/large"]["limit"]
    assert limit == {"context": 32_768, "output": 8_192}


def test_claude_code_is_told_its_window_and_spared_what_nobody_runs(connect):
    """A model that is not listed will do, and the small one is another."""
    _, told, _ = connect("claude-code", "--model", "claude-opus-4-8", "--small-model", "chat")

    assert "ANTHROPIC_MODEL=claude-opus-4-8 ANTHROPIC_DEFAULT_HAIKU_MODEL=chat" in told
    assert "CLAUDE_CODE_AUTO_COMPACT_WINDOW=65536 CLAUDE_CODE_MAX_OUTPUT_TOKENS=16384" in told
    assert "--disallowedTools WebSearch" in told and "Warning" not in told


def test_a_window_that_a_client_fills_by_itself_is_warned_of(connect):
    """It would be refused at its first request."""
    _, told, _ = connect("claude-code", "--model", "chat")

    assert re.search(r"# Warning: .* chat has room for 4,096: .*--model", told)


@pytest.mark.parametrize("option", ["--model", "--small-model"])
def test_a_model_that_is_not_there_is_told_with_the_nearest(connect, option):
    """Before a client fails on it."""
    status, _, told = connect("codex", option, "chatt")

    assert status == 1
    assert "chatt: 404 model_not_found" in told and "did you mean 'chat'?" in told


@every_client
def test_help_has_an_example(recipe, capsys):
    """Of every client."""
    with pytest.raises(SystemExit):
        build_parser().parse_args(["connect", recipe.name, "--help"])

    assert f"example: pointsman connect {recipe.name}" in capsys.readouterr().out
