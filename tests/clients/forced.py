"""One call that the request demands, streamed, by each SDK: what any model can do under a grammar.

Run by the harness with the clients' interpreter: `python forced.py NAME PROMPT URL MODEL`.
Each prints `called set_lamp {...}` for the call that the SDK has read, and fails where the
arguments are not what the schema allows.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Literal

KEY = "none"
MOST_TOKENS = 200
NAME = "set_lamp"
ABOUT = "Set a lamp."
SCHEMA = {
    "type": "object",
    "properties": {
        "room": {"type": "string", "enum": ["kitchen", "study"]},
        "percent": {"type": "integer", "enum": [0, 50, 100]},
    },
    "required": ["room", "percent"],
    "additionalProperties": False,
}


def checked(name: str, given: dict[str, Any]) -> str:
    """The call in words. Raises AssertionError for one that the schema does not allow."""
    assert name == NAME, name
    assert set(given) == {"room", "percent"}, given
    assert given["room"] in ("kitchen", "study") and given["percent"] in (0, 50, 100), given
    assert type(given["percent"]) is int
    return f"called {name} {json.dumps(given, sort_keys=True)}"


def openai_chat(prompt: str, url: str, model: str) -> str:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    tool = {"type": "function", "function": {"name": NAME, "parameters": SCHEMA}}
    with client.chat.completions.stream(
        model=model,
        messages=[{"role": "user", "content": prompt}],
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": NAME}},
        max_tokens=MOST_TOKENS,
    ) as events:
        for _event in events:
            pass
        (made,) = events.get_final_completion().choices[0].message.tool_calls
    return checked(made.function.name, json.loads(made.function.arguments))


def openai_responses(prompt: str, url: str, model: str) -> str:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    with client.responses.stream(
        model=model,
        input=prompt,
        tools=[{"type": "function", "name": NAME, "parameters": SCHEMA, "strict": True}],
        tool_choice={"type": "function", "name": NAME},
        max_output_tokens=MOST_TOKENS,
    ) as events:
        for _event in events:
            pass
        answer = events.get_final_response()
    (made,) = (item for item in answer.output if item.type == "function_call")
    return checked(made.name, json.loads(made.arguments))


def anthropic_sdk(prompt: str, url: str, model: str) -> str:
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)
    with client.messages.stream(
        model=model,
        max_tokens=MOST_TOKENS,
        messages=[{"role": "user", "content": prompt}],
        tools=[{"name": NAME, "description": ABOUT, "input_schema": SCHEMA}],
        tool_choice={"type": "tool", "name": NAME},
    ) as events:
        answer = events.get_final_message()
    (made,) = (block for block in answer.content if block.type == "tool_use")
    assert answer.stop_reason == "tool_use", answer.stop_reason
    return checked(made.name, made.input)


def openai_agents(prompt: str, url: str, model: str, *, is_chat: bool) -> str:
    import agents
    import openai

    called = []

    @agents.function_tool
    def set_lamp(room: Literal["kitchen", "study"], percent: Literal[0, 50, 100]) -> str:
        """Set a lamp."""
        called.append(checked(NAME, {"room": room, "percent": percent}))
        return "done"

    agents.set_tracing_disabled(disabled=True)
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    made = agents.OpenAIChatCompletionsModel if is_chat else agents.OpenAIResponsesModel
    agent = agents.Agent(
        name="lamps",
        tools=[set_lamp],
        model=made(model=model, openai_client=client),
        model_settings=agents.ModelSettings(tool_choice=NAME, max_tokens=MOST_TOKENS),
        tool_use_behavior="stop_on_first_tool",
    )

    async def run() -> None:
        result = agents.Runner.run_streamed(agent, prompt, max_turns=1)
        async for _ in result.stream_events():
            pass

    asyncio.run(run())
    (said,) = called
    return said


def pydantic_ai(prompt: str, url: str, model: str, *, route: str) -> str:
    """An output type that is a tool is demanded by it."""
    import pydantic
    import pydantic_ai as library

    class Lamp(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid", json_schema_extra=None)
        room: Literal["kitchen", "study"]
        percent: Literal[0, 50, 100]

    if route == "anthropic":
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        made: Any = AnthropicModel(model, provider=AnthropicProvider(base_url=url, api_key=KEY))
    else:
        from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
        from pydantic_ai.providers.openai import OpenAIProvider

        provider = OpenAIProvider(base_url=f"{url}/v1", api_key=KEY)
        kind = OpenAIChatModel if route == "chat" else OpenAIResponsesModel
        made = kind(model, provider=provider)
    output = library.ToolOutput(Lamp, name=NAME, description=ABOUT)
    agent = library.Agent(made, output_type=output, retries=0)

    async def run() -> Lamp:
        limit: Any = {"max_tokens": MOST_TOKENS}
        async with agent.run_stream_events(prompt, model_settings=limit) as events:
            async for event in events:
                if isinstance(event, library.AgentRunResultEvent):
                    return event.result.output
        raise AssertionError("no call")

    return checked(NAME, asyncio.run(run()).model_dump())


def langchain(prompt: str, url: str, model: str, *, route: str) -> str:
    if route == "anthropic":
        from langchain_anthropic import ChatAnthropic

        made: Any = ChatAnthropic(
            model=model, base_url=url, api_key=KEY, max_retries=0, max_tokens=MOST_TOKENS
        )
    else:
        from langchain_openai import ChatOpenAI

        made = ChatOpenAI(
            model=model,
            base_url=f"{url}/v1",
            api_key=KEY,
            max_retries=0,
            max_tokens=MOST_TOKENS,
            use_responses_api=route == "responses",
        )
    schema = {"title": NAME, "description": ABOUT, **SCHEMA}
    whole: Any = None
    for part in made.bind_tools([schema], tool_choice=NAME).stream(prompt):
        whole = part if whole is None else whole + part
    (call,) = whole.tool_calls
    return checked(call["name"], call["args"])


PROGRAMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "forced-openai-chat": (openai_chat, {}),
    "forced-openai-responses": (openai_responses, {}),
    "forced-anthropic": (anthropic_sdk, {}),
    "forced-openai-agents-chat": (openai_agents, {"is_chat": True}),
    "forced-openai-agents-responses": (openai_agents, {"is_chat": False}),
    "forced-pydantic-ai-chat": (pydantic_ai, {"route": "chat"}),
    "forced-pydantic-ai-responses": (pydantic_ai, {"route": "responses"}),
    "forced-pydantic-ai-anthropic": (pydantic_ai, {"route": "anthropic"}),
    "forced-langchain-chat": (langchain, {"route": "chat"}),
    "forced-langchain-responses": (langchain, {"route": "responses"}),
    "forced-langchain-anthropic": (langchain, {"route": "anthropic"}),
}


if __name__ == "__main__":
    name, prompt, url, model = sys.argv[1:]
    program, options = PROGRAMS[name]
    print(program(prompt, url, model, **options))
