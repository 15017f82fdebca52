"""What a script looks at in a request, in any of the three dialects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
"""Notes that coding clients put among the user's words."""


@dataclass(slots=True)
class Conversation:
    """A request as a script sees it.

    Attributes:
        user: what the user said in the newest turn.
        results: what the newest calls gave back.
        steps: answers with tool calls since the user spoke.
        said: how the answer has begun already, for a request to continue it.
        tools: the JSON schema of each offered tool.
        corrects: the answer that is to be made again, as the request quotes it; None: none.
        strict: tools whose arguments the request forces into their schema.
        choice: `auto`, `none`, `required`, or the only tool that may be called.
        is_parallel: whether several calls are allowed.
        namespaces: namespace and own name of tools that are offered within one.

    """

    user: str = ""
    results: str = ""
    steps: int = 0
    said: str = ""
    tools: dict[str, Any] = field(default_factory=dict)
    corrects: str | None = None
    strict: frozenset[str] = frozenset()
    choice: str = "auto"
    is_parallel: bool = True
    namespaces: dict[str, tuple[str, str]] = field(default_factory=dict)

    def is_forced(self, tool: str) -> bool:
        """Whether a grammar holds a call of this tool to its schema."""
        return self.choice not in ("auto", "none") or tool in self.strict


def read_chat(body: dict[str, Any]) -> Conversation:
    """Read the body of POST /v1/chat/completions."""
    messages = body["messages"]
    reader = _Reader()
    for message in messages:
        reader.message(message)
    found = reader.found
    if body.get("continue_final_message"):
        found.said = text_of(messages[-1].get("content"))
    _offer(found, (tool.get("function") or {} for tool in body.get("tools") or ()), "parameters")
    choice = body.get("tool_choice") or "auto"
    found.choice = choice["function"]["name"] if isinstance(choice, dict) else choice
    found.is_parallel = body.get("parallel_tool_calls") is not False
    return found


def read_messages(body: dict[str, Any]) -> Conversation:
    """Read the body of POST /v1/messages."""
    reader = _Reader()
    for message in body["messages"]:
        reader.message(message)
    found = reader.found
    _offer(found, body.get("tools") or (), "input_schema")
    choice = body.get("tool_choice") or {}
    kind = {"any": "required"}.get(choice.get("type", "auto"), choice.get("type", "auto"))
    found.choice = choice["name"] if kind == "tool" else kind
    found.is_parallel = not choice.get("disable_parallel_tool_use")
    return found


def read_responses(body: dict[str, Any]) -> Conversation:
    """Read the body of POST /v1/responses."""
    given = body["input"]
    reader = _Reader()
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        reader.item(item)
    found = reader.found
    flat = []
    for tool in body.get("tools") or ():
        if tool.get("type") == "namespace":
            for inner in tool.get("tools") or ():
                name = f"{tool['name']}{NAMESPACE_MARK}{inner['name']}"
                found.namespaces[name] = (tool["name"], inner["name"])
                flat.append({**inner, "name": name})
        elif tool.get("type") == "function":
            flat.append(tool)
    _offer(found, flat, "parameters")
    choice = body.get("tool_choice") or "auto"
    found.choice = choice["name"] if isinstance(choice, dict) else choice
    found.is_parallel = body.get("parallel_tool_calls") is not False
    return found


CORRECTIONS = ("That is not valid: ", "Your last answer was empty.")
"""How a user message begins that has an answer made again: no turn of its own."""

NAMESPACE_MARK = "__"
"""Between the name of a namespace and that of a tool in it, as vLLM tells them to the model."""


def text_of(content: Any) -> str:
    """All text within a message's content, or within a tool's result."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return text_of(content.get("text", content.get("content", content.get("output"))))
    if isinstance(content, list):
        return "\n".join(filter(None, map(text_of, content)))
    return ""


class _Reader:
    """Follows a conversation to its newest turn."""

    def __init__(self) -> None:
        self.found = Conversation()
        self._may_go_on = True  # a message of the user's belongs to the turn before it
        self._is_answering = False  # the item before was a call of the same answer
        self._said = self._results = ""  # the newest answer in text, and the results before it

    def message(self, message: dict[str, Any]) -> None:
        """Take in one message of a chat, or of Anthropic's form."""
        role, content = message.get("role"), message.get("content")
        self._note_said(role, content)
        blocks = content if isinstance(content, list) else []
        kinds = {block.get("type") for block in blocks if isinstance(block, dict)}
        if role == "assistant":
            self._answer(calls=bool(message.get("tool_calls")) or "tool_use" in kinds)
        elif role == "tool" or "tool_result" in kinds:
            self._result(text_of(content))
        elif role == "user":
            self._user(text_of(content))

    def item(self, item: dict[str, Any]) -> None:
        """Take in one item of the Responses form: an answer may be several."""
        kind = item.get("type", "message")
        self._note_said(item.get("role"), item.get("content"))
        if kind.endswith("_call"):
            if not self._is_answering:
                self._answer(calls=True)
            self._is_answering = True
        elif kind.endswith("_output"):
            self._result(text_of(item.get("output")))
        elif kind == "message" and item.get("role") == "assistant":
            self._may_go_on = False
        elif kind == "message" and item.get("role") == "user":
            self._user(text_of(item.get("content")))

    def _note_said(self, role: object, content: Any) -> None:
        if role == "assistant":
            self._said, self._results = text_of(content), self.found.results

    def _answer(self, *, calls: bool) -> None:
        self.found.steps += calls
        self.found.results = ""
        self._may_go_on = False

    def _result(self, text: str) -> None:
        self.found.results = "\n".join(filter(None, (self.found.results, text)))
        self._is_answering = False

    def _user(self, text: str) -> None:
        text = _REMINDER.sub("", text).strip()
        if not text:
            return
        if text.startswith(CORRECTIONS):
            self.found.corrects, self.found.results = self._said, self._results
            return
        if self._may_go_on:
            self.found.user = "\n".join(filter(None, (self.found.user, text)))
        else:
            self.found.user, self.found.results, self.found.steps = text, "", 0
            self._may_go_on = True
        self._is_answering = False


def _offer(found: Conversation, tools: Iterable[dict[str, Any]], schema: str) -> None:
    for tool in tools:
        found.tools[str(tool.get("name", ""))] = tool.get(schema) or {}
        if tool.get("strict"):
            found.strict |= {str(tool.get("name", ""))}
