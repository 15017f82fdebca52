"""Which answer a script gives to a conversation."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from random import Random
from typing import Any

import orjson

from simulator.script.conversation import Conversation
from simulator.script.faults import damaged
from simulator.script.model import Call, Fault, Script, Step, Usage, When, filled

_COUNTED = Usage()


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call as a tool parser has it: the arguments are a text, of whatever kind."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine says.

    Attributes:
        says_calls: it ends because of tool calls, though there are none.

    """

    reasoning: str = ""
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    says_calls: bool = False
    usage: Usage = _COUNTED


def answer_of(script: Script, asked: Conversation, seed: str) -> Answer | None:
    """The script's answer; None where it has none, or cannot call what is demanded.

    Args:
        script: the script.
        asked: the conversation.
        seed: what the draws of this request are made from, with the script's own seed.

    """
    step = _step(script, asked)
    if step is None:
        return None
    variables = _variables(script, asked)
    chosen = [found for call in step.calls if (found := _called(call, asked, variables))]
    if asked.corrects is not None:
        # Of several calls, that which is most like the one that was wrong.
        chosen.sort(key=lambda call: _likeness(call, asked.corrects or ""), reverse=True)
    if asked.choice not in ("auto", "none", "required"):
        chosen = [call for call in chosen if call[0] == asked.choice][:1]
    if asked.choice == "none":
        chosen = []
    if not asked.is_parallel:
        chosen = chosen[:1]
    if not chosen and asked.choice not in ("auto", "none"):
        return None
    made = Answer(
        filled(step.reasoning, variables),
        filled(step.text, variables).removeprefix(asked.said),
        tuple(ToolCall(name, orjson.dumps(given).decode()) for name, given in chosen),
        usage=step.usage,
    )
    if asked.said:
        made = replace(made, reasoning="")
    return _with_faults(made, script, step, asked, chosen, Random(f"{script.seed} {seed}"))


def _likeness(call: tuple[str, dict[str, Any]], said: str) -> float:
    name, given = call
    whole = f"{name}({orjson.dumps(given).decode()})"
    return SequenceMatcher(None, whole, said, autojunk=False).ratio()


def _with_faults(
    answer: Answer,
    script: Script,
    step: Step,
    asked: Conversation,
    chosen: list[tuple[str, dict[str, Any]]],
    random: Random,
) -> Answer:
    """The answer, with what is wrong with it."""
    for index, (tool, given) in enumerate(chosen):
        if asked.is_forced(tool) and not script.stubborn:
            continue
        is_drawn = random.random() < script.corrupt
        wanted = random.sample(script.faults, len(script.faults)) if is_drawn else []
        if step.fault is not None and index == 0:
            wanted = [step.fault]
        for fault in wanted:
            changed = _damaged(answer, fault, index, given, asked)
            if changed is not None:
                answer = changed
                break
        if len(answer.calls) < len(chosen):
            break  # the whole answer went wrong
    if not chosen and step.fault in (Fault.EMPTY, Fault.NO_CALL):
        return _damaged(answer, step.fault, 0, {}, asked) or answer
    return answer


def _damaged(
    answer: Answer, fault: Fault, index: int, given: dict[str, Any], asked: Conversation
) -> Answer | None:
    """The answer with one fault; None where the fault does not fit."""
    match fault:
        case Fault.EMPTY:
            return Answer(usage=answer.usage)
        case Fault.NO_CALL:
            return replace(answer, calls=(), says_calls=True)
        case Fault.IN_TEXT_HERMES | Fault.IN_TEXT_LLAMA:
            raw = hermes if fault is Fault.IN_TEXT_HERMES else _llama
            said = "\n".join(raw(call) for call in answer.calls)
            return replace(answer, text=answer.text + said, calls=())
        case Fault.TOO_MANY:
            return None if asked.is_parallel else replace(answer, calls=answer.calls * 2)
    changed = _damaged_call(answer.calls[index], fault, given, asked)
    if changed is None:
        return None
    return replace(answer, calls=(*answer.calls[:index], changed, *answer.calls[index + 1 :]))


def _damaged_call(
    call: ToolCall, fault: Fault, given: dict[str, Any], asked: Conversation
) -> ToolCall | None:
    if fault is Fault.UNKNOWN_TOOL:
        name = f"{call.name}_tool"
        while name in asked.tools:
            name += "_tool"
        return replace(call, name=name)
    wrong = damaged(fault, given, asked.tools[call.name])
    return None if wrong is None else replace(call, arguments=wrong)


def hermes(call: ToolCall) -> str:
    """A call as a model of the Hermes family writes it."""
    name = orjson.dumps(call.name).decode()
    return f'<tool_call>\n{{"name": {name}, "arguments": {call.arguments}}}\n</tool_call>'


def _llama(call: ToolCall) -> str:
    name = orjson.dumps(call.name).decode()
    return f'{{"name": {name}, "parameters": {call.arguments}}}'


def _step(script: Script, asked: Conversation) -> Step | None:
    for turn in script.turns:
        if _holds(turn.when, asked):
            for step in turn.steps:
                if step.when is not None and _holds(step.when, asked):
                    return step
            ordered = [step for step in turn.steps if step.when is None]
            return ordered[min(asked.steps, len(ordered) - 1)]
    return None


def _holds(when: When, asked: Conversation) -> bool:
    if when.tools is not None:
        is_offered = any(name in asked.tools for name in when.tools)
        if not (is_offered if when.tools else not asked.tools):
            return False
    texts = ((when.user, asked.user), (when.result, asked.results))
    return all(wanted is None or re.search(wanted, text) for wanted, text in texts)


def _variables(script: Script, asked: Conversation) -> dict[str, str]:
    """Values of the variables that occur; the others stay as they are written."""
    found = {}
    for name, expression in script.let.items():
        for text in (asked.user, asked.results):
            if match := re.search(expression, text):
                found[name] = match.group(1) or ""
                break
    return found


def _called(
    call: Call, asked: Conversation, variables: dict[str, str]
) -> tuple[str, dict[str, Any]] | None:
    for name, arguments in call.items():
        if name in asked.tools:
            return name, filled(arguments, variables)
    return None
