r"""A script: what a simulated engine says, turn by turn, as a YAML file.

    let: {folder: 'Workspace folder: (\S+)'}
    corrupt: 0.1
    turns:
      - when: {user: "list the files", tools: [Bash, bash]}
        steps:
          - reasoning: The folder first.
            text: I look.
            calls:
              - Bash: {command: "ls ${folder}"}
                bash: {command: "ls ${folder}", description: Lists}
          - text: Done.

A *turn* begins with a message of the user's; a *step* is one answer of the engine. Both are
chosen from the conversation in the request alone: the turn by its condition, the step by how
many answers with tool calls the turn already has. Nothing is kept between requests.
"""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from string import Template
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from simulator import strict_yaml

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class ScriptError(ValueError):
    """A script that cannot be used; the text says where and why."""


class Strict(BaseModel):
    """Frozen, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Fault(StrEnum):
    """A way in which a model, or the parser behind it, gets a tool call wrong.

    `too_many` is a second call where one is allowed: the pinned vLLM cuts it off, but not on
    /v1/responses. `no_call` ends an answer because of calls that are not there.
    """

    NOT_JSON = "not_json"
    TRUNCATED = "truncated"
    NOT_OBJECT = "not_object"
    MISSING = "missing"
    WRONG_TYPE = "wrong_type"
    EXTRA = "extra"
    UNKNOWN_TOOL = "unknown_tool"
    TOO_MANY = "too_many"
    IN_TEXT_HERMES = "in_text_hermes"
    IN_TEXT_LLAMA = "in_text_llama"
    NO_CALL = "no_call"
    EMPTY = "empty"


class When(Strict):
    """A condition on a conversation; what is not given holds.

    Attributes:
        user: regular expression that is found in what the user said in this turn.
        result: the same, in the results of the newest tool calls.
        tools: one of these tools is offered; an empty list: none at all.

    """

    user: str | None = None
    result: str | None = None
    tools: list[str] | None = None

    @field_validator("user", "result")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        return value if value is None else _expression(value)


class Usage(Strict):
    """Token counts that an answer claims in place of the counted ones."""

    prompt_tokens: int | None = Field(None, ge=0)
    completion_tokens: int | None = Field(None, ge=0)


Call = Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
"""One tool call: arguments by the name of the tool. The first name that is offered is called."""


class Step(Strict):
    """One answer.

    Attributes:
        when: this step answers wherever the condition holds, whatever came before. Steps
            without one answer in their order, the last of them also from then on.
        reasoning: what a reasoning parser would take out of the text.
        text: the content.
        calls: tool calls, in parallel. One of whose tools none is offered is left out.
        fault: what is always wrong with this answer.
        usage: token counts that it claims.

    """

    when: When | None = None
    reasoning: str = ""
    text: str = ""
    calls: list[Call] = Field(default_factory=list)
    fault: Fault | None = None
    usage: Usage = Usage()


class Turn(Strict):
    """What answers one message of the user's.

    Attributes:
        when: which conversations; none given: all.
        steps: the answers.

    """

    when: When = When()
    steps: list[Step] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_an_order(self) -> Self:
        if all(step.when is not None for step in self.steps):
            raise ValueError("every step has a condition: one without is needed to end with")
        return self


class Script(Strict):
    """All that is said.

    Attributes:
        turns: the first whose condition holds answers; where none does, the engine says
            what it says without a script.
        let: variables for `${name}` in texts and arguments: each the first group of a
            regular expression, looked for in what the user said, then in tool results.
        corrupt: share of tool calls that go wrong.
        faults: the ways in which they do, drawn evenly from those that fit the call.
        stubborn: calls go wrong also where the request forces a grammar on them. A real
            engine cannot do so then.
        seed: of the draws. The same request to the same model goes wrong in the same way.

    """

    turns: list[Turn] = Field(min_length=1)
    let: dict[str, str] = Field(default_factory=dict)
    corrupt: float = Field(0, ge=0, le=1)
    faults: list[Fault] = Field(default_factory=lambda: list(Fault), min_length=1)
    stubborn: bool = False
    seed: int = 0

    @field_validator("let")
    @classmethod
    def _have_one_group(cls, value: dict[str, str]) -> dict[str, str]:
        for name, expression in value.items():
            if re.compile(_expression(expression)).groups != 1:
                raise ValueError(f"'{name}': one group is needed, for the value")
        return value

    @model_validator(mode="after")
    def _variables_are_known(self) -> Self:
        used = set(_VARIABLE.findall(repr([turn.steps for turn in self.turns])))
        if unknown := sorted(used - set(self.let)):
            raise ValueError(f"${{{unknown[0]}}} is not in `let`")
        return self


def load_script(path: Path) -> Script:
    """Read a script. Raises ScriptError, which names the file, the place and the fault."""
    try:
        return Script.model_validate(strict_yaml.load(path.read_text()))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the script"
        raise ScriptError(f"{path}: {place}: {first['msg']}") from error
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise ScriptError(f"{path}: {error}") from error


def filled(template: Any, variables: dict[str, str]) -> Any:
    """A text, or every text within a JSON value, with its variables in place."""
    if isinstance(template, str):
        return Template(template).safe_substitute(variables)
    if isinstance(template, list):
        return [filled(item, variables) for item in template]
    if isinstance(template, dict):
        return {name: filled(item, variables) for name, item in template.items()}
    return template


def _expression(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"'{value}' is no regular expression: {error}") from error
    return value
