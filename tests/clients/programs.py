"""Small agents, one for each SDK and route, that do the task with the SDK's own loop.

Run by the harness with the clients' interpreter: `python programs.py NAME FOLDER URL MODEL`.
They import nothing of Pointsman, and print the last words of the model.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

KEY = "none"


def run_command(command: str) -> str:
    """Run a shell command and return what it printed."""
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, timeout=30
    )
    return done.stdout + done.stderr


def read_file(path: str) -> str:
    """Return a file's content."""
    return Path(path).read_text()


def edit_file(path: str, old: str, new: str) -> str:
    """Replace a text in a file by another."""
    text = Path(path).read_text()
    Path(path).write_text(text.replace(old, new, 1))
    return "edited" if old in text else "not found"


FUNCTIONS = {f.__name__: f for f in (run_command, read_file, edit_file)}
SCHEMAS = {
    name: {
        "type": "object",
        "properties": {p: {"type": "string"} for p in parameters},
        "required": parameters,
        "additionalProperties": False,
    }
    for name, parameters in {
        "run_command": ["command"],
        "read_file": ["path"],
        "edit_file": ["path", "old", "new"],
    }.items()
}
MOST_STEPS = 8


def call(name: str, arguments: dict[str, Any]) -> str:
    return FUNCTIONS[name](**arguments)


def openai_chat(prompt: str, url: str, model: str, *, stream: bool) -> str:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    tools = [
        {
            "type": "function",
            "function": {"name": name, "description": f.__doc__, "parameters": SCHEMAS[name]},
        }
        for name, f in FUNCTIONS.items()
    ]
    messages: list[Any] = [{"role": "user", "content": prompt}]
    for _ in range(MOST_STEPS):
        asked = {"model": model, "messages": messages, "tools": tools}
        if stream:
            with client.chat.completions.stream(
                **asked, stream_options={"include_usage": True}
            ) as events:
                for _event in events:
                    pass
                answer = events.get_final_completion()
        else:
            answer = client.chat.completions.create(**asked)
        assert answer.usage is not None and answer.usage.completion_tokens
        said = answer.choices[0].message
        messages.append(said.model_dump(exclude_none=True, exclude={"parsed"}))
        if not said.tool_calls:
            return said.content or ""
        assert answer.choices[0].finish_reason == "tool_calls"
        for one in said.tool_calls:
            result = call(one.function.name, json.loads(one.function.arguments))
            messages.append({"role": "tool", "tool_call_id": one.id, "content": result})
    return "too many steps"


def openai_responses(prompt: str, url: str, model: str, *, stream: bool) -> str:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    tools = [
        {"type": "function", "name": name, "description": f.__doc__, "parameters": SCHEMAS[name],
         "strict": False}
        for name, f in FUNCTIONS.items()
    ]  # fmt: skip
    items: list[Any] = [{"role": "user", "content": prompt}]
    for _ in range(MOST_STEPS):
        asked = {"model": model, "input": items, "tools": tools, "store": False}
        if stream:
            with client.responses.stream(**asked) as events:
                for _event in events:
                    pass
                answer = events.get_final_response()
        else:
            answer = client.responses.create(**asked)
        items += [item.model_dump(exclude_none=True) for item in answer.output]
        calls = [item for item in answer.output if item.type == "function_call"]
        if not calls:
            return answer.output_text
        for one in calls:
            result = call(one.name, json.loads(one.arguments))
            items.append({"type": "function_call_output", "call_id": one.call_id, "output": result})
    return "too many steps"


def anthropic_sdk(prompt: str, url: str, model: str, *, stream: bool) -> str:
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0)
    tools: list[Any] = [
        {"name": name, "description": f.__doc__, "input_schema": SCHEMAS[name]}
        for name, f in FUNCTIONS.items()
    ]
    messages: list[Any] = [{"role": "user", "content": prompt}]
    assert client.messages.count_tokens(model=model, messages=messages, tools=tools).input_tokens
    for _ in range(MOST_STEPS):
        asked = {"model": model, "messages": messages, "tools": tools, "max_tokens": 2000}
        if stream:
            with client.messages.stream(**asked) as events:
                answer = events.get_final_message()
        else:
            answer = client.messages.create(**asked)
        said = [block.model_dump(exclude_none=True) for block in answer.content]
        messages.append({"role": "assistant", "content": said})
        calls = [block for block in answer.content if block.type == "tool_use"]
        if not calls:
            return "".join(block.text for block in answer.content if block.type == "text")
        assert answer.stop_reason == "tool_use"
        results = [
            {"type": "tool_result", "tool_use_id": one.id, "content": call(one.name, one.input)}
            for one in calls
        ]
        messages.append({"role": "user", "content": results})
    return "too many steps"


def openai_agents(prompt: str, url: str, model: str, *, is_chat: bool) -> str:
    import agents
    import openai

    agents.set_tracing_disabled(disabled=True)
    client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
    made = agents.OpenAIChatCompletionsModel if is_chat else agents.OpenAIResponsesModel
    agent = agents.Agent(
        name="worker",
        instructions="Do the task.",
        tools=[agents.function_tool(f) for f in FUNCTIONS.values()],
        model=made(model=model, openai_client=client),
    )

    async def run() -> str:
        result = agents.Runner.run_streamed(agent, prompt, max_turns=MOST_STEPS)
        async for _ in result.stream_events():
            pass
        return str(result.final_output)

    return asyncio.run(run())


def pydantic_ai(prompt: str, url: str, model: str, *, route: str) -> str:
    import pydantic_ai as library

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
    agent = library.Agent(made, tools=list(FUNCTIONS.values()))

    async def run() -> str:
        async with agent.run_stream_events(prompt) as events:
            said = ""
            async for event in events:
                if isinstance(event, library.AgentRunResultEvent):
                    said = str(event.result.output)
            return said

    return asyncio.run(run())


def langchain(prompt: str, url: str, model: str, *, route: str) -> str:
    from langchain.agents import create_agent

    if route == "anthropic":
        from langchain_anthropic import ChatAnthropic

        made: Any = ChatAnthropic(model=model, base_url=url, api_key=KEY, max_retries=0)
    else:
        from langchain_openai import ChatOpenAI

        made = ChatOpenAI(
            model=model,
            base_url=f"{url}/v1",
            api_key=KEY,
            max_retries=0,
            use_responses_api=route == "responses",
        )
    agent = create_agent(made, tools=list(FUNCTIONS.values()))
    said = ""
    for mode, part in agent.stream(
        {"messages": [{"role": "user", "content": prompt}]}, stream_mode=["messages", "values"]
    ):
        if mode == "values":
            said = part["messages"][-1].text
    return str(said)


PROGRAMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "openai-chat": (openai_chat, {"stream": True}),
    "openai-chat-whole": (openai_chat, {"stream": False}),
    "openai-responses": (openai_responses, {"stream": True}),
    "openai-responses-whole": (openai_responses, {"stream": False}),
    "anthropic": (anthropic_sdk, {"stream": True}),
    "anthropic-whole": (anthropic_sdk, {"stream": False}),
    "openai-agents-chat": (openai_agents, {"is_chat": True}),
    "openai-agents-responses": (openai_agents, {"is_chat": False}),
    "pydantic-ai-chat": (pydantic_ai, {"route": "chat"}),
    "pydantic-ai-responses": (pydantic_ai, {"route": "responses"}),
    "pydantic-ai-anthropic": (pydantic_ai, {"route": "anthropic"}),
    "langchain-chat": (langchain, {"route": "chat"}),
    "langchain-responses": (langchain, {"route": "responses"}),
    "langchain-anthropic": (langchain, {"route": "anthropic"}),
}


if __name__ == "__main__":
    name, prompt, url, model = sys.argv[1:]
    program, options = PROGRAMS[name]
    print(program(prompt, url, model, **options))
