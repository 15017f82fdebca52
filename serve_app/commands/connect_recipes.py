"""What sets each client up: texts with places for a deployment's URL, model and window.

docs/clients.md shows the same texts, filled for a deployment on this machine, and the same
notes: tests/unit/serve_app/test_connect.py compares them.
"""

from __future__ import annotations

from dataclasses import dataclass

PLACES = ("url", "key", "model", "small", "window", "output")
"""What stands as `<<name>>` in a text.

`url`: without `/v1`. `key`: what the client finds the key by, or `none`. `small`: model of
titles and summaries. `window`, `output`: tokens of prompt and answer, and of an answer.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """One text, and where it goes.

    Attributes:
        where: a file, or what else to do with it.
        language: how values are quoted in it, and what docs/clients.md calls it.

    """

    where: str
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one client is set up.

    Attributes:
        name: what `pointsman connect` calls it.
        title: its heading in docs/clients.md.
        key: how the client is told the key, where there is one.
        notes: what else there is to know.
        least_window: tokens that its first request fills by itself; 0: next to none.

    """

    name: str
    title: str
    key: str
    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()
    least_window: int = 0


_SHELL = '"$POINTSMAN_API_KEY"'
_PYTHON = 'os.environ["POINTSMAN_API_KEY"]'

RECIPES = (
    Recipe(
        "claude-code",
        "Claude Code",
        _SHELL,
        (
            Part(
                "in a shell",
                "bash",
                """\
export ANTHROPIC_BASE_URL=<<url>> ANTHROPIC_AUTH_TOKEN=<<key>>
export ANTHROPIC_MODEL=<<model>> ANTHROPIC_DEFAULT_HAIKU_MODEL=<<small>>
export CLAUDE_CODE_AUTO_COMPACT_WINDOW=<<window>> CLAUDE_CODE_MAX_OUTPUT_TOKENS=<<output>>
claude --disallowedTools WebSearch
""",
            ),
        ),
        (
            (
                "It takes 200,000 tokens for the window of a model that it does not know, whatever "
                "`/v1/models` says: `CLAUDE_CODE_AUTO_COMPACT_WINDOW` makes it compact in time."
            ),
            (
                "It asks for 32,000 tokens of output (64,000 of a model that it knows): "
                "`CLAUDE_CODE_MAX_OUTPUT_TOKENS` makes it less."
            ),
            (
                "`WebSearch` is a request of its own to a tool that nobody runs here: "
                "`--disallowedTools` spares the model the attempt."
            ),
            (
                "`/model` offers the listed aliases that begin with `claude` or `anthropic`, where "
                "`CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY=1` is set."
            ),
        ),
        least_window=30_000,
    ),
    Recipe(
        "codex",
        "Codex",
        "POINTSMAN_API_KEY",
        (
            Part(
                "~/.codex/config.toml",
                "toml",
                """\
model = "<<model>>"
model_provider = "pointsman"
model_context_window = <<window>>
web_search = "disabled"

[model_providers.pointsman]
name = "Pointsman"
base_url = "<<url>>/v1"
wire_api = "responses"
env_key = "POINTSMAN_API_KEY"
""",
            ),
        ),
        (
            (
                "Codex wants `POINTSMAN_API_KEY` to be set, to anything where no key is needed: "
                "`export POINTSMAN_API_KEY=none`."
            ),
            (
                '`web_search = "disabled"` spares it a tool that nobody runs here; where it is '
                "offered all the same, it is left out for the model."
            ),
        ),
        least_window=12_000,
    ),
    Recipe(
        "opencode",
        "OpenCode",
        "{env:POINTSMAN_API_KEY}",
        (
            Part(
                "opencode.json in the project, or ~/.config/opencode/opencode.json",
                "json",
                """\
{
  "provider": {
    "pointsman": {
      "npm": "@ai-sdk/openai-compatible",
      "options": {"baseURL": "<<url>>/v1", "apiKey": "<<key>>"},
      "models": {"<<model>>": {"limit": {"context": <<window>>, "output": <<output>>}}}
    }
  },
  "model": "pointsman/<<model>>",
  "small_model": "pointsman/<<model>>"
}
""",
            ),
        ),
        ("`limit.context` is when it compacts.",),
        least_window=12_000,
    ),
    Recipe(
        "cline",
        "Cline",
        "the value of POINTSMAN_API_KEY",
        (
            Part(
                "Cline's settings, API Configuration",
                "text",
                """\
API Provider          OpenAI Compatible
Base URL              <<url>>/v1
API Key               <<key>>
Model ID              <<model>>
Context Window Size   <<window>>
Max Output Tokens     <<output>>
""",
            ),
        ),
        ("Image support and computer use stay off, unless the lane's model reads images.",),
        least_window=16_000,
    ),
    Recipe(
        "open-webui",
        "Open WebUI",
        _SHELL,
        (
            Part(
                "in the shell that starts it",
                "bash",
                """\
export ENABLE_OLLAMA_API=false OPENAI_API_BASE_URL=<<url>>/v1 OPENAI_API_KEY=<<key>>
export DEFAULT_MODELS=<<model>> TASK_MODEL_EXTERNAL=<<small>>
open-webui serve
""",
            ),
        ),
        (
            "These are read at its first start; later its own settings (Connections) count.",
            (
                "In a container `127.0.0.1` is the container: the URL has to be one of the host's, "
                "and that needs a key."
            ),
        ),
    ),
    Recipe(
        "openai",
        "openai",
        _PYTHON,
        (
            Part(
                "in Python",
                "python",
                """\
from openai import OpenAI

client = OpenAI(base_url="<<url>>/v1", api_key=<<key>>)
client.responses.create(model="<<model>>", input="hello")
""",
            ),
        ),
    ),
    Recipe(
        "anthropic",
        "anthropic",
        _PYTHON,
        (
            Part(
                "in Python",
                "python",
                """\
from anthropic import Anthropic

client = Anthropic(base_url="<<url>>", api_key=<<key>>)
hello = [{"role": "user", "content": "hello"}]
client.messages.create(model="<<model>>", max_tokens=1024, messages=hello)
""",
            ),
        ),
    ),
    Recipe(
        "openai-agents",
        "openai-agents",
        _PYTHON,
        (
            Part(
                "in Python",
                "python",
                """\
import agents
from openai import AsyncOpenAI

agents.set_tracing_disabled(True)
client = AsyncOpenAI(base_url="<<url>>/v1", api_key=<<key>>)
model = agents.OpenAIResponsesModel(model="<<model>>", openai_client=client)
agent = agents.Agent(name="agent", model=model)
""",
            ),
        ),
        (
            "It sends traces to its vendor unless `set_tracing_disabled(True)` is called.",
            "Its hosted tools (`WebSearchTool` and the like) have nobody who runs them.",
        ),
    ),
    Recipe(
        "pydantic-ai",
        "pydantic-ai",
        _PYTHON,
        (
            Part(
                "in Python",
                "python",
                """\
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url="<<url>>/v1", api_key=<<key>>)
agent = Agent(OpenAIChatModel("<<model>>", provider=provider))
""",
            ),
        ),
        ("Its built-in tools (web search and the like) have nobody who runs them.",),
    ),
    Recipe(
        "langchain",
        "langchain",
        _PYTHON,
        (
            Part(
                "in Python",
                "python",
                """\
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI

ChatOpenAI(model="<<model>>", base_url="<<url>>/v1", api_key=<<key>>)
ChatAnthropic(model="<<model>>", base_url="<<url>>", api_key=<<key>>)
""",
            ),
        ),
    ),
)
