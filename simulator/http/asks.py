"""Request bodies of the generation routes, as the simulated engine reads them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any

import orjson

from simulator.model.schema import instance_of
from simulator.model.text import END_OF_MESSAGE, ROLES, tokenize

DEFAULT_OUTPUT_TOKENS = 16
"""Answer length where neither the request nor the profile says any."""


class BadAsk(ValueError):
    """A body that vLLM would refuse; the text goes to the client."""


@dataclass(slots=True)
class Ask:
    """One request, whichever route it came by.

    Attributes:
        prompts: token ids of each prompt (more than one on /v1/completions only).
        newest: text of the newest user message, where control words are looked for.
        script: text that the answer must be (structured output, tool arguments).
        tool: name of the tool that the answer calls.
        namespaces: namespace and own name of the tools that are offered within one.
        echoed: fields that an answer of /v1/responses repeats.

    """

    prompts: list[array[int]]
    newest: str = ""
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    copies: int = 1
    stream: bool = False
    include_usage: bool = False
    return_token_ids: bool = False
    logprobs: bool = False
    cache_salt: str = ""
    priority: int = 0
    variant: int | None = 0
    stop: tuple[str, ...] = ()
    script: bytes | None = None
    tool: str | None = None
    namespaces: dict[str, tuple[str, str]] = field(default_factory=dict)
    echoed: dict[str, Any] = field(default_factory=dict)

    @property
    def is_unsure(self) -> bool:
        """Whether its tokens are to be told as improbable: the control word asks for it."""
        return "[unsure]" in self.newest


def read_chat(body: dict[str, Any], *, trims: bool) -> Ask:
    """POST /v1/chat/completions.

    Args:
        body: the parsed body.
        trims: whether the chat template strips messages, as Llama 3.1's does.

    """
    messages = _messages(body.get("messages"))
    prompt = _asked(messages, body, trims=trims)
    said = b""
    if body.get("continue_final_message"):
        if body.get("add_generation_prompt", True):
            raise BadAsk("continue_final_message and add_generation_prompt exclude each other")
        if messages[-1].get("role") != "assistant":
            raise BadAsk("continue_final_message needs a final assistant message")
        # Neither the next answer's head nor the last message's end.
        del prompt[-2:]
        said = _text(messages[-1].get("content")).encode()
    ask = _common(body, [prompt], _newest(messages))
    newer = _whole_number(body, "max_completion_tokens")
    ask.max_tokens = newer or _whole_number(body, "max_tokens")
    _choose_tool(ask, body)
    _choose_format(ask, body.get("response_format"), body.get("structured_outputs"))
    if said and ask.script is not None and ask.script.startswith(said):
        ask.script = ask.script[len(said) :]
    return ask


def read_completion(body: dict[str, Any]) -> Ask:
    """POST /v1/completions: a text, token ids, or a list of either."""
    prompt = body.get("prompt")
    if isinstance(prompt, str):
        prompt = [prompt]
    if not isinstance(prompt, list) or not prompt:
        raise BadAsk("prompt: a text or a list of token ids is required")
    if isinstance(prompt[0], int):
        prompt = [prompt]
    prompts = [
        array("I", tokenize(one.encode())) if isinstance(one, str) else array("I", one)
        for one in prompt
    ]
    newest = prompt[-1] if isinstance(prompt[-1], str) else ""
    ask = _common(body, prompts, newest)
    ask.max_tokens = _whole_number(body, "max_tokens") or DEFAULT_OUTPUT_TOKENS
    _choose_format(ask, body.get("response_format"), body.get("structured_outputs"))
    return ask


def read_message(body: dict[str, Any], *, trims: bool) -> Ask:
    """POST /v1/messages, the Anthropic form."""
    messages = _messages(body.get("messages"))
    if body.get("system"):
        messages = [{"role": "system", "content": body["system"]}, *messages]
    ask = _common(body, [_asked(messages, body, trims=trims)], _newest(messages))
    ask.max_tokens = _whole_number(body, "max_tokens")
    if ask.max_tokens is None:
        raise BadAsk("max_tokens: field required")
    ask.stop = tuple(body.get("stop_sequences") or ())
    choice = body.get("tool_choice") or {}
    if body.get("tools") and (choice.get("type") in ("any", "tool") or "[tool]" in ask.newest):
        tools = {tool["name"]: tool.get("input_schema", {}) for tool in body["tools"]}
        _call(ask, tools, choice.get("name"))
    wanted = (body.get("output_config") or {}).get("format") or {}
    if wanted.get("type") == "json_schema":
        ask.script = ask.script or orjson.dumps(instance_of(wanted.get("schema", {})))
    return ask


def read_response(body: dict[str, Any], *, trims: bool) -> Ask:
    """POST /v1/responses."""
    given = body.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else _messages(given)
    if body.get("instructions"):
        items = [{"role": "system", "content": body["instructions"]}, *items]
    ask = _common(body, [_asked(items, body, trims=trims)], _newest(items))
    ask.max_tokens = _whole_number(body, "max_output_tokens")
    choice = body.get("tool_choice")
    if body.get("tools") and (choice == "required" or isinstance(choice, dict)
                              or "[tool]" in ask.newest):  # fmt: skip
        tools = {tool["name"]: tool.get("parameters", {}) for tool in body["tools"]}
        _call(ask, tools, choice.get("name") if isinstance(choice, dict) else None)
    text = (body.get("text") or {}).get("format") or {}
    if text.get("type") == "json_schema":
        ask.script = ask.script or orjson.dumps(instance_of(text.get("schema", {})))
    return ask


# -- parts -----------------------------------------------------------------------


def _common(body: dict[str, Any], prompts: list[array[int]], newest: str) -> Ask:
    if not all(prompts):
        raise BadAsk("the prompt is empty")
    stop = body.get("stop") or ()
    temperature, seed = body.get("temperature"), body.get("seed")
    # Greedy and seeded requests repeat; sampled ones do not.
    variant = 0 if temperature == 0 else None if seed is None else 1 + int(seed) % 2**31
    return Ask(
        prompts=prompts,
        newest=newest,
        min_tokens=int(body.get("min_tokens") or 0),
        ignore_eos=bool(body.get("ignore_eos")),
        copies=_whole_number(body, "n") or 1,
        stream=bool(body.get("stream")),
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        return_token_ids=bool(body.get("return_token_ids")),
        logprobs=bool(body.get("logprobs")),
        cache_salt=str(body.get("cache_salt") or ""),
        priority=int(body.get("priority") or 0),
        variant=variant,
        stop=(stop,) if isinstance(stop, str) else tuple(map(str, stop)),
    )


def _whole_number(body: dict[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or value < 1:
        raise BadAsk(f"{name} must be at least 1")
    return value


def _messages(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value or not all(isinstance(m, dict) for m in value):
        raise BadAsk("messages: a list of messages is required")
    return list(value)


def _asked(messages: list[dict[str, Any]], body: dict[str, Any], *, trims: bool) -> array[int]:
    """The chat template: tools, then role, content, end of each; the answer's head."""
    ids = array("I")
    if body.get("tools"):
        ids.append(ROLES["system"])
        ids.extend(tokenize(orjson.dumps(body["tools"])))
        ids.append(END_OF_MESSAGE)
    for message in messages:
        text = _text(message.get("content", message.get("output", "")))
        if message.get("tool_calls"):
            text += orjson.dumps(message["tool_calls"]).decode()
        ids.append(ROLES.get(str(message.get("role", "tool")), ROLES["user"]))
        ids.extend(tokenize((text.strip() if trims else text).encode()))
        ids.append(END_OF_MESSAGE)
    ids.append(ROLES["assistant"])
    return ids


def _text(content: Any) -> str:
    """A message's content as text; parts that are not text become a short mark."""
    if isinstance(content, str) or content is None:
        return content or ""
    if not isinstance(content, list):
        return orjson.dumps(content).decode()
    parts = []
    for part in content:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            parts.append(part["text"])
        elif isinstance(part, dict) and part.get("type") in ("tool_use", "tool_result"):
            parts.append(orjson.dumps(part.get("input", part.get("content"))).decode())
        else:
            parts.append(str(part.get("type", "")) if isinstance(part, dict) else str(part))
    return "".join(parts)


def _newest(messages: list[dict[str, Any]]) -> str:
    """Text of the last message, when a user wrote it."""
    last = messages[-1]
    return _text(last.get("content")) if last.get("role", "user") == "user" else ""


def _choose_tool(ask: Ask, body: dict[str, Any]) -> None:
    choice = body.get("tool_choice")
    if not body.get("tools") or choice == "none":
        return
    named = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    if choice == "required" or named or "[tool]" in ask.newest:
        functions = [tool.get("function", {}) for tool in body["tools"]]
        _call(ask, {f.get("name", ""): f.get("parameters", {}) for f in functions}, named)


def _call(ask: Ask, tools: dict[str, Any], name: str | None) -> None:
    if name is not None and name not in tools:
        raise BadAsk(f"the tool '{name}' has not been specified in `tools`")
    ask.tool = name or next(iter(tools))
    ask.script = orjson.dumps(instance_of(tools[ask.tool]))


def _choose_format(ask: Ask, response_format: Any, structured: Any) -> None:
    if ask.script is not None:
        return
    kind = (response_format or {}).get("type")
    if kind == "json_object":
        ask.script = b'{"simulated": true}'
    elif kind == "json_schema":
        ask.script = orjson.dumps(instance_of(response_format["json_schema"].get("schema", {})))
    elif isinstance(structured, dict) and structured.get("json") is not None:
        schema = structured["json"]
        ask.script = orjson.dumps(
            instance_of(orjson.loads(schema) if isinstance(schema, str) else schema)
        )
    elif isinstance(structured, dict) and structured.get("choice"):
        ask.script = str(structured["choice"][0]).encode()
