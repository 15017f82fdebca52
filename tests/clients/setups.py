"""How each client is set up and started: what docs/clients.md tells people to write."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

INSTALLED = Path(__file__).resolve().parents[2] / "build/clients"
HERE = Path(__file__).resolve().parent
URL = "http://127.0.0.1:8000"
"""Where every client finds the server under test, in its sandbox."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of a client is prepared for.

    Attributes:
        model: the name that it asks for.
        prompt: what it is to do.
        texts: what `pointsman connect` prints for this deployment, by client.

    """

    home: Path
    workspace: Path
    model: str
    prompt: str
    texts: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Start:
    """How one run is started.

    Attributes:
        command: the program and its arguments.
        env: variables beside HOME, and PATH where it is another one.

    """

    command: Sequence[str]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Client:
    """One client on one route.

    Attributes:
        package: what it is installed from, for its version.
        program: its file below build/clients; the client is left out where it is not there.
        prepare: writes its configuration, as `pointsman connect` prints it.
        does: the `task`; `hello`, which is what the printed lines of an SDK are enough for; or
            a `forced` call, which an engine makes with any model; the `example` of an agent.
        is_streamed: whether its answers come as streams.

    """

    name: str
    package: str
    route: str
    program: Path
    prepare: Callable[[Run], Start]
    does: str = "task"
    is_streamed: bool = True

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


def _claude_code(run: Run) -> Start:
    *exports, command = run.texts["claude-code"][0].strip().splitlines()
    # It refuses to run without asking as root, unless it is told that it is contained.
    env = {"IS_SANDBOX": "1", "PATH": f"{_npm('claude').parent}:{os.environ['PATH']}"}
    options = ["--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"]
    script = "\n".join([*exports, f'exec {command} "$@"'])
    return Start(["bash", "-c", script, "bash", "-p", run.prompt, *options], env)


def _codex(run: Run) -> Start:
    (run.home / ".codex").mkdir()
    (run.home / ".codex/config.toml").write_text(run.texts["codex"][0])
    options = ["--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    command = [str(_npm("codex")), "exec", *options, "-C", str(run.workspace), run.prompt]
    return Start(command, {"POINTSMAN_API_KEY": "none"})


def _opencode(run: Run) -> Start:
    # Nothing of its vendor's can be reached.
    printed = {**json.loads(run.texts["opencode"][0]), "share": "disabled", "autoupdate": False}
    (run.workspace / "opencode.json").write_text(json.dumps(printed))
    return Start([str(_npm("opencode")), "run", "--auto", run.prompt])


def _npm(name: str) -> Path:
    return INSTALLED / "npm/node_modules/.bin" / name


PYTHON = INSTALLED / "py/bin/python"


def _program(name: str) -> Callable[[Run], Start]:
    def prepare(run: Run) -> Start:
        script = "forced.py" if name.startswith("forced") else "programs.py"
        return Start([str(PYTHON), str(HERE / script), name, run.prompt, URL, run.model])

    return prepare


def _printed(name: str) -> Callable[[Run], Start]:
    def prepare(run: Run) -> Start:
        (run.workspace / "printed.py").write_text(run.texts[name][0])
        return Start([str(PYTHON), str(HERE / "printed.py"), str(run.workspace / "printed.py")])

    return prepare


def _example(run: Run) -> Start:
    program = HERE.parents[1] / "examples/agent.py"
    return Start([str(PYTHON), str(program), "--url", URL, "--model", run.model])


PRINTED = (
    *("claude-code", "codex", "opencode"),
    *("openai", "anthropic", "openai-agents", "pydantic-ai", "langchain"),
)
"""Clients that `pointsman connect` is asked about."""

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"

CLIENTS = (
    Client("example-agent", "openai", CHAT, PYTHON, _example, "example", is_streamed=False),
    Client("claude-code", "@anthropic-ai/claude-code", MESSAGES, _npm("claude"), _claude_code),
    Client("codex", "@openai/codex", RESPONSES, _npm("codex"), _codex),
    Client("opencode", "opencode-ai", CHAT, _npm("opencode"), _opencode),
    *(
        Client(name, package, route, PYTHON, _program(name), is_streamed=streamed)
        for name, package, route, streamed in (
            ("openai-chat", "openai", CHAT, True),
            ("openai-chat-whole", "openai", CHAT, False),
            ("openai-responses", "openai", RESPONSES, True),
            ("openai-responses-whole", "openai", RESPONSES, False),
            ("anthropic", "anthropic", MESSAGES, True),
            ("anthropic-whole", "anthropic", MESSAGES, False),
            ("openai-agents-chat", "openai-agents", CHAT, True),
            ("openai-agents-responses", "openai-agents", RESPONSES, True),
            ("pydantic-ai-chat", "pydantic-ai-slim", CHAT, True),
            ("pydantic-ai-responses", "pydantic-ai-slim", RESPONSES, True),
            ("pydantic-ai-anthropic", "pydantic-ai-slim", MESSAGES, True),
            ("langchain-chat", "langchain", CHAT, True),
            ("langchain-responses", "langchain", RESPONSES, True),
            ("langchain-anthropic", "langchain", MESSAGES, True),
        )
    ),
    *(
        Client(f"connect-{name}", package, route, PYTHON, _printed(name), "hello", False)
        for name, package, route in (
            ("openai", "openai", RESPONSES),
            ("anthropic", "anthropic", MESSAGES),
            ("openai-agents", "openai-agents", RESPONSES),
            ("pydantic-ai", "pydantic-ai-slim", CHAT),
            ("langchain", "langchain", CHAT),
        )
    ),
    *(
        Client(f"forced-{name}", package, route, PYTHON, _program(f"forced-{name}"), "forced")
        for name, package, route in (
            ("openai-chat", "openai", CHAT),
            ("openai-responses", "openai", RESPONSES),
            ("anthropic", "anthropic", MESSAGES),
            ("openai-agents-chat", "openai-agents", CHAT),
            ("openai-agents-responses", "openai-agents", RESPONSES),
            ("pydantic-ai-chat", "pydantic-ai-slim", CHAT),
            ("pydantic-ai-responses", "pydantic-ai-slim", RESPONSES),
            ("pydantic-ai-anthropic", "pydantic-ai-slim", MESSAGES),
            ("langchain-chat", "langchain", CHAT),
            ("langchain-responses", "langchain", RESPONSES),
            ("langchain-anthropic", "langchain", MESSAGES),
        )
    ),
)  # fmt: skip
