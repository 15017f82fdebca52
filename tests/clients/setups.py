"""How each client is set up and started: what docs/clients.md tells people to write."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

INSTALLED = Path(__file__).resolve().parents[2] / "build/clients"
HERE = Path(__file__).resolve().parent
URL = "http://127.0.0.1:8000"
"""Where every client finds the server under test, in its sandbox."""


@dataclass(frozen=True, slots=True)
class Start:
    """How one run is started.

    Attributes:
        command: the program and its arguments.
        env: variables beside PATH and HOME.

    """

    command: Sequence[str]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Client:
    """One client on one route.

    Attributes:
        package: what it is installed from, for its version.
        program: its file below build/clients; the client is left out where it is not there.
        prepare: writes its configuration into the home folder and the workspace; told both,
            the model and the prompt.

    """

    name: str
    package: str
    route: str
    program: Path
    prepare: Callable[[Path, Path, str, str], Start]

    def version(self) -> str:
        """The locked version."""
        if self.program.is_relative_to(INSTALLED / "npm"):
            lock = json.loads((HERE / "npm/package.json").read_text())
            return str(lock["dependencies"][self.package])
        for line in (HERE.parents[1] / "requirements/clients.in").read_text().splitlines():
            name, _, version = line.partition("==")
            if name.partition("[")[0] == self.package:
                return version
        return "?"


def _claude_code(home: Path, workspace: Path, model: str, prompt: str) -> Start:
    env = {
        "ANTHROPIC_BASE_URL": URL,
        "ANTHROPIC_AUTH_TOKEN": "none",
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
        # It refuses to run without asking as root, unless it is told that it is contained.
        "IS_SANDBOX": "1",
    }
    options = ["--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"]
    return Start([str(_npm("claude")), "-p", prompt, *options], env)


def _codex(home: Path, workspace: Path, model: str, prompt: str) -> Start:
    # With its web search on, which stock Codex offers: nobody runs it, and it is left out.
    (home / ".codex").mkdir()
    (home / ".codex/config.toml").write_text(
        f"""\
model = "{model}"
model_provider = "pointsman"

[model_providers.pointsman]
name = "Pointsman"
base_url = "{URL}/v1"
wire_api = "responses"
env_key = "POINTSMAN_KEY"
"""
    )
    options = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    command = [str(_npm("codex")), "exec", *options, "-C", str(workspace), prompt]
    return Start(command, {"POINTSMAN_KEY": "none"})


def _opencode(home: Path, workspace: Path, model: str, prompt: str) -> Start:
    config = {
        "provider": {
            "pointsman": {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": f"{URL}/v1", "apiKey": "none"},
                "models": {model: {"limit": {"context": 200_000, "output": 8192}}},
            }
        },
        "model": f"pointsman/{model}",
        "small_model": f"pointsman/{model}",
        "share": "disabled",
        "autoupdate": False,
    }
    (workspace / "opencode.json").write_text(json.dumps(config))
    return Start([str(_npm("opencode")), "run", "--auto", prompt])


def _npm(name: str) -> Path:
    return INSTALLED / "npm/node_modules/.bin" / name


PYTHON = INSTALLED / "py/bin/python"


def _program(name: str) -> Callable[[Path, Path, str, str], Start]:
    def prepare(home: Path, workspace: Path, model: str, prompt: str) -> Start:
        return Start([str(PYTHON), str(HERE / "programs.py"), name, prompt, URL, model])

    return prepare


CLIENTS = (
    Client(
        "claude-code", "@anthropic-ai/claude-code", "/v1/messages", _npm("claude"), _claude_code
    ),
    Client("codex", "@openai/codex", "/v1/responses", _npm("codex"), _codex),
    Client("opencode", "opencode-ai", "/v1/chat/completions", _npm("opencode"), _opencode),
    *(
        Client(name, package, route, PYTHON, _program(name))
        for name, package, route in (
            ("openai-chat", "openai", "/v1/chat/completions"),
            ("openai-chat-whole", "openai", "/v1/chat/completions"),
            ("openai-responses", "openai", "/v1/responses"),
            ("openai-responses-whole", "openai", "/v1/responses"),
            ("anthropic", "anthropic", "/v1/messages"),
            ("anthropic-whole", "anthropic", "/v1/messages"),
            ("openai-agents-chat", "openai-agents", "/v1/chat/completions"),
            ("openai-agents-responses", "openai-agents", "/v1/responses"),
            ("pydantic-ai-chat", "pydantic-ai-slim", "/v1/chat/completions"),
            ("pydantic-ai-responses", "pydantic-ai-slim", "/v1/responses"),
            ("pydantic-ai-anthropic", "pydantic-ai-slim", "/v1/messages"),
            ("langchain-chat", "langchain", "/v1/chat/completions"),
            ("langchain-responses", "langchain", "/v1/responses"),
            ("langchain-anthropic", "langchain", "/v1/messages"),
        )
    ),
)  # fmt: skip
