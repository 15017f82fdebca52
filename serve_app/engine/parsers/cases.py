"""The raw model outputs of the parser suite, written from templates.

Every parser gets the same conversations in its own model's form, then outputs that only
its form can have, and last an answer with two calls that is cut at ever later places.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PER_PARSER = 112


def _tool(name: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    function = {"name": name, "description": f"Runs {name}.", "parameters": schema}
    return {"type": "function", "function": function}


_STRING, _NUMBER = {"type": "string"}, {"type": "number"}
TOOLS = [
    _tool("weather", {"city": _STRING, "days": {"type": "integer"}, "wet": _STRING}, ["city"]),
    _tool("add", {"a": _NUMBER, "b": _NUMBER}, ["a", "b"]),
    _tool("now", {}, []),
    _tool("write-file", {"path": _STRING, "content": _STRING}, ["path", "content"]),
    _tool(
        "search",
        {
            "query": _STRING,
            "filter": {"type": "object"},
            "tags": {"type": "array", "items": _STRING},
            "exact": {"type": "boolean"},
            "after": {"type": ["string", "null"]},
        },
        ["query"],
    ),
]
"""What every case's request offers."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a model means to make. `raw` stands in place of its arguments."""

    name: str
    arguments: dict[str, Any]
    raw: str | None = None

    @property
    def json(self) -> str:
        if self.raw is not None:
            return self.raw
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Case:
    """One raw output.

    Attributes:
        meant: the calls that a reader of the output sees in it, name and arguments.
        is_cut: whether the answer ended at its limit of tokens.
        reasoning: the reasoning parser that runs before the tool parser.

    """

    name: str
    text: str
    meant: tuple[tuple[str, dict[str, Any]], ...] = ()
    is_cut: bool = False
    reasoning: str | None = None


Part = str | Call

BERN = Call("weather", {"city": "Bern"})
ROME = Call("weather", {"city": "Rome", "days": 3})
SUM = Call("add", {"a": 1, "b": 2})
NOW = Call("now", {})


def _search(**arguments: Any) -> Call:
    return Call("search", {"query": "x", **arguments})


def _write(content: str) -> Call:
    return Call("write-file", {"path": "a.txt", "content": content})


COMMON: dict[str, tuple[Part, ...]] = {
    "no call, one sentence": ("It is sunny in Bern.",),
    "no call, nothing said": ("",),
    "no call, white space": ("\n\n",),
    "no call, braces in text": ("Use {name} or {} in the template.",),
    "no call, JSON in text": ('The file has {"port": 80} in it.',),
    "no call, code block": ('```json\n{"a": 1}\n```',),
    "no call, angle brackets": ("if a < b and c > d: print('<tool>')",),
    "no call, speaks of tools": ("I have no tool for that, sorry.",),
    "no call, unicode": ("Grüße aus Zürich 🌧️ und 東京。",),
    "no call, several lines": ("First.\n\n- one\n- two\n\nLast.",),
    "one": (BERN,),
    "one, two arguments": (ROME,),
    "one, dash in its name": (_write("x"),),
    "no arguments": (NOW,),
    "empty string": (_write(""),),
    "text before": ("Let me look.\n", BERN),
    "text after": (BERN, "\nI wait for it."),
    "text before and after": ("Let me look.\n", BERN, "\nI wait for it."),
    "text between": (BERN, "\nand then\n", SUM),
    "blank lines before": ("\n\n", BERN),
    "blank lines after": (BERN, "\n\n"),
    "two of one tool": (BERN, ROME),
    "the same twice": (BERN, BERN),
    "two tools": (BERN, SUM),
    "three": (BERN, SUM, _search()),
    "five": (BERN, SUM, _search(), ROME, _write("x")),
    "without arguments first of two": (NOW, BERN),
    "without arguments last of two": (BERN, NOW),
    "text before two": ("Both at once.\n", BERN, SUM),
    "nested object": (_search(filter={"lang": "de", "size": {"min": 1, "max": 9}}),),
    "deeply nested": (_search(filter={"a": {"b": {"c": {"d": [1, [2, {"e": {}}]]}}}}),),
    "empty object within": (_search(filter={}),),
    "list": (_search(tags=["a", "b, c"]),),
    "empty list": (_search(tags=[]),),
    "booleans": (_search(exact=True),),
    "false": (_search(exact=False),),
    "null": (_search(after=None),),
    "integers": (Call("add", {"a": 12345678901234567890, "b": -7}),),
    "fractions": (Call("add", {"a": 0.1, "b": -2.50}),),
    "exponents": (Call("add", {"a": 1e300, "b": 2.5e-8}),),
    "zero": (Call("add", {"a": 0, "b": 0}),),
    "number for a string": (Call("weather", {"city": 3000}),),
    "string for a number": (Call("add", {"a": "1", "b": "two"}),),
    "string that looks like a number": (Call("weather", {"city": "007"}),),
    "string that looks like null": (Call("weather", {"city": "null"}),),
    "string that looks like JSON": (_write('{"a": [1, 2]}'),),
    "umlauts": (Call("weather", {"city": "Zürich"}),),
    "emoji": (Call("weather", {"city": "🌧️ Bern 👩‍👩‍👧"}),),
    "Chinese": (Call("weather", {"city": "東京", "wet": "雨が降る"}),),
    "right to left": (Call("weather", {"city": "القدس"}),),
    "quotes": (_write('She said "yes" and left.'),),
    "backslashes": (_write("C:\\temp\\new and \\\\host"),),
    "line breaks": (_write("one\ntwo\n\nthree\n"),),
    "tabs": (_write("\tone\n\t\ttwo"),),
    "code": (_write("def f(x):\n    return {'a': [x, \"b\"]}\n"),),
    "XML": (_write('<a href="x">1 &amp; 2</a>'),),
    "braces in a string": (_write("}{ ]}[ }}"),),
    "long string": (_write("lorem ipsum " * 40),),
    "spaces around a string": (_write("  two  "),),
    "unknown name": (Call("launch", {"city": "Bern"}),),
    "unknown name and a known one": (Call("launch", {"x": 1}), BERN),
    "known name in capitals": (Call("Weather", {"city": "Bern"}),),
    "unknown argument": (Call("weather", {"town": "Bern"}),),
    "required argument missing": (Call("add", {"a": 1}),),
    "argument called name": (Call("search", {"query": "x", "name": "y"}),),
    "argument called arguments": (Call("search", {"query": "x", "arguments": {"a": 1}}),),
    "argument called parameters": (Call("search", {"query": "x", "parameters": {"a": 1}}),),
    "think tags before": ("<think>\nThe weather tool fits.\n</think>\n\n", BERN),
    "think tags without an end": ("<think>\nThe weather tool fits. ", BERN),
}

JSON_ONLY: dict[str, tuple[Part, ...]] = {
    "escaped unicode": (Call("weather", {"city": "Zürich"}, '{"city": "Z\\u00fcrich"}'),),
    "escaped surrogates": (Call("weather", {"city": "🌧"}, '{"city": "\\ud83c\\udf27"}'),),
    "half a surrogate": (Call("weather", {}, '{"city": "\\ud83c"}'),),
    "escaped slash": (Call("write-file", {"path": "a/b", "content": ""},
                           '{"path": "a\\/b", "content": ""}'),),
    "no spaces": (Call("add", {"a": 1, "b": 2}, '{"a":1,"b":2}'),),
    "spaces everywhere": (Call("add", {"a": 1, "b": 2}, '{ "a" : 1 , "b" :\n 2 }'),),
    "trailing comma": (Call("weather", {"city": "Bern"}, '{"city": "Bern",}'),),
    "single quotes": (Call("weather", {"city": "Bern"}, "{'city': 'Bern'}"),),
    "line break in a string": (Call("weather", {"city": "a\nb"}, '{"city": "a\nb"}'),),
    "True of Python": (Call("search", {"query": "x", "exact": True},
                            '{"query": "x", "exact": True}'),),
    "brace missing": (Call("weather", {"city": "Bern"}, '{"city": "Bern"'),),
    "brace too many": (Call("weather", {"city": "Bern"}, '{"city": "Bern"}}'),),
    "arguments in a string": (Call("weather", {"city": "Bern"}, '"{\\"city\\": \\"Bern\\"}"'),),
    "arguments in a list": (Call("weather", {}, '["Bern"]'),),
    "arguments null": (Call("now", {}, "null"),),
    "the same key twice": (Call("weather", {"city": "Rome"},
                                '{"city": "Bern", "city": "Rome"}'),),
    "NaN": (Call("add", {}, '{"a": NaN, "b": Infinity}'),),
}  # fmt: skip


def _hermes(call: Call) -> str:
    return f'<tool_call>\n{{"name": "{call.name}", "arguments": {call.json}}}\n</tool_call>'


def _llama(call: Call) -> str:
    return f'{{"name": "{call.name}", "parameters": {call.json}}}'


def _mistral(call: Call) -> str:
    return f'{{"name": "{call.name}", "arguments": {call.json}}}'


def _qwen(call: Call) -> str:
    def value(given: Any) -> str:
        return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)

    lines = [
        f"<parameter={name}>\n{value(given)}\n</parameter>"
        for name, given in call.arguments.items()
    ]
    inner = "\n".join([f"<function={call.name}>", *lines, "</function>"])
    return f"<tool_call>\n{inner}\n</tool_call>"


_WRITERS = {"hermes": _hermes, "llama3_json": _llama, "mistral": _mistral, "qwen3_coder": _qwen}
PARSERS = tuple(_WRITERS)
_BETWEEN = {"hermes": "\n", "llama3_json": "; ", "mistral": ", ", "qwen3_coder": "\n"}


def written(parser: str, parts: tuple[Part, ...]) -> str:
    """Write parts of an answer as the parser's models do."""
    text, run = "", list[str]()
    for part in parts:
        if isinstance(part, Call):
            run.append(_WRITERS[parser](part))
        else:
            text, run = text + _joined(parser, run) + part, []
    return text + _joined(parser, run)


def _joined(parser: str, calls: list[str]) -> str:
    inner = _BETWEEN[parser].join(calls)
    return f"[TOOL_CALLS] [{inner}]" if calls and parser == "mistral" else inner


_B = (("weather", {"city": "Bern"}),)
_BS = (*_B, ("add", {"a": 1, "b": 2}))
_J = '{"name": "weather", "arguments": {"city": "Bern"}}'

OWN: dict[str, tuple[Case, ...]] = {
    "hermes": (
        Case("mark alone in text", "The mark <tool_call> begins a call."),
        Case("end mark alone", "The mark </tool_call> ends a call."),
        Case("end mark missing", f"<tool_call>\n{_J}", _B),
        Case("end mark missing, first of two", f"<tool_call>\n{_J}\n<tool_call>\n{_J}", _B * 2),
        Case("marks in a string", written("hermes", (_write("<tool_call>x</tool_call>"),)),
             (("write-file", {"path": "a.txt", "content": "<tool_call>x</tool_call>"}),)),
        Case("arguments before name",
             '<tool_call>\n{"arguments": {"city": "Bern"}, "name": "weather"}\n</tool_call>', _B),
        Case("parameters for arguments",
             '<tool_call>{"name": "weather", "parameters": {"city": "Bern"}}</tool_call>', _B),
        Case("no arguments member", '<tool_call>\n{"name": "now"}\n</tool_call>', (("now", {}),)),
        Case("no name", '<tool_call>\n{"arguments": {"city": "Bern"}}\n</tool_call>'),
        Case("list of calls", f"<tool_call>\n[{_J}]\n</tool_call>", _B),
        Case("empty call", "<tool_call>\n</tool_call>"),
        Case("no marks", _J, _B),
        Case("code block for marks", f"```json\n{_J}\n```", _B),
        Case("Llama's form", written("llama3_json", (BERN,)), _B),
        Case("Qwen coder's form", written("qwen3_coder", (BERN,)), _B),
        Case("text before, no name",
             'Let me look.\n<tool_call>\n{"arguments": {"city": "Bern"}}\n</tool_call>'),
        Case("text before, Qwen coder's form",
             f"Let me look.\n{written('qwen3_coder', (BERN,))}", _B),
        Case("good one, bad one", f"<tool_call>\n{_J}\n</tool_call>\n<tool_call>\n{{bad\n", _B),
        Case("reasoning parser", f"<think>\nIt fits.\n</think>\n\n<tool_call>\n{_J}\n</tool_call>",
             _B, reasoning="qwen3"),
        Case("reasoning parser, call within", f"<think>\nSo <tool_call>\n{_J}\n</tool_call>",
             _B, reasoning="qwen3"),
        Case("reasoning parser, no call", "<think>\nIt fits.\n</think>\n\nHello.",
             reasoning="qwen3"),
    ),
    "llama3_json": (
        Case("python tag", f"<|python_tag|>{written('llama3_json', (BERN,))}", _B),
        Case("python tag, two", f"<|python_tag|>{written('llama3_json', (BERN, SUM))}", _BS),
        Case("python tag, code", '<|python_tag|>weather.call(city="Bern")', _B),
        Case("python tag alone", "<|python_tag|>"),
        Case("arguments for parameters", _J, _B),
        Case("both members", '{"name": "now", "parameters": {}, "arguments": {}}', (("now", {}),)),
        Case("parameters before name", '{"parameters": {"city": "Bern"}, "name": "weather"}', _B),
        Case("type before name",
             '{"type": "function", "name": "weather", "parameters": {"city": "Bern"}}', _B),
        Case("function for name", '{"function": "weather", "parameters": {"city": "Bern"}}', _B),
        Case("no parameters member", '{"name": "now"}', (("now", {}),)),
        Case("comma between", f"{_J}, {_J}", _B * 2),
        Case("line break between", f"{_J}\n{_J}", _B * 2),
        Case("semicolon without space", f"{_J};{_J}", _B * 2),
        Case("semicolon at the end", f"{_J};", _B),
        Case("list of calls", f"[{_J}, {_J}]", _B * 2),
        Case("code block", f"```json\n{_J}\n```", _B),
        Case("answer is JSON, no call", '{"port": 80, "host": "x"}'),
        Case("answer is JSON with a name", '{"name": "Bern", "people": 134000}'),
        Case("hermes marks", written("hermes", (BERN,)), _B),
        Case("code block, said before", f"I call it:\n```json\n{_J}\n```", _B),
        Case("example in text", 'Say {"name": "Bern", "people": 134000}, no call.'),
    ),
    "mistral": (
        Case("mark alone in text", "The mark [TOOL_CALLS] begins a call."),
        Case("mark at the end", "Wait.[TOOL_CALLS]"),
        Case("no space after the mark", f"[TOOL_CALLS][{_J}]", _B),
        Case("no list", f"[TOOL_CALLS]{_J}", _B),
        Case("empty list of calls", "[TOOL_CALLS] []"),
        Case("bracket missing at the end", f"[TOOL_CALLS] [{_J}", _B),
        Case("mark before each", f"[TOOL_CALLS] [{_J}][TOOL_CALLS] [{_J}]", _B * 2),
        Case("newer form", '[TOOL_CALLS]weather{"city": "Bern"}', _B),
        Case("newer form, two", '[TOOL_CALLS]weather{"city": "Bern"}[TOOL_CALLS]now{}',
             (*_B, ("now", {}))),
        Case("newer form, text before", 'Let me look.[TOOL_CALLS]weather{"city": "Bern"}', _B),
        Case("no mark", f"[{_J}]", _B),
        Case("no mark, text before", f"Let me look.\n[{_J}]", _B),
        Case("no mark, no list", _J, _B),
        Case("marks in a string", written("mistral", (_write("[TOOL_CALLS] [1]"),)),
             (("write-file", {"path": "a.txt", "content": "[TOOL_CALLS] [1]"}),)),
        Case("arguments before name",
             '[TOOL_CALLS] [{"arguments": {"city": "Bern"}, "name": "weather"}]', _B),
        Case("no arguments member", '[TOOL_CALLS] [{"name": "now"}]', (("now", {}),)),
        Case("parameters for arguments",
             '[TOOL_CALLS] [{"name": "weather", "parameters": {"city": "Bern"}}]', _B),
        Case("an id beside", '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Bern"}, '
             '"id": "abcdefghi"}]', _B),
        Case("code block", f"[TOOL_CALLS]```json\n[{_J}]\n```", _B),
    ),
    "qwen3_coder": (
        Case("mark alone in text", "The mark <tool_call> begins a call."),
        Case("function mark alone", "Write <function= and a name."),
        Case("no outer mark",
             "<function=weather>\n<parameter=city>\nBern\n</parameter>\n</function>", _B),
        Case("no outer mark, end mark",
             "<function=weather>\n<parameter=city>\nBern\n</parameter>\n</function>\n</tool_call>",
             _B),
        Case("all on one line", "<tool_call><function=weather><parameter=city>Bern</parameter>"
             "</function></tool_call>", _B),
        Case("outer end mark missing",
             "<tool_call>\n<function=weather>\n<parameter=city>\nBern\n</parameter>\n</function>",
             _B),
        Case("function end mark missing",
             "<tool_call>\n<function=weather>\n<parameter=city>\nBern\n</parameter>\n</tool_call>",
             _B),
        Case("parameter end mark missing",
             "<tool_call>\n<function=weather>\n<parameter=city>\nBern\n</function>\n</tool_call>",
             _B),
        Case("second parameter without end of first", "<tool_call>\n<function=add>\n<parameter=a>\n"
             "1\n<parameter=b>\n2\n</parameter>\n</function>\n</tool_call>", _BS[1:]),
        Case("hermes form", written("hermes", (BERN,)), _B),
        Case("hermes form, text before", f"Let me look.\n{written('hermes', (BERN,))}", _B),
        Case("two functions in one mark", "<tool_call>\n<function=now>\n</function>\n"
             "<function=now>\n</function>\n</tool_call>", (("now", {}),) * 2),
        Case("empty call", "<tool_call>\n</tool_call>"),
        Case("empty name", "<tool_call>\n<function=>\n</function>\n</tool_call>"),
        Case("parameter mark in a string", written("qwen3_coder", (_write("<parameter=a>1"),)),
             (("write-file", {"path": "a.txt", "content": "<parameter=a>1"}),)),
        Case("end marks in a string", written("qwen3_coder", (_write("</parameter> too"),)),
             (("write-file", {"path": "a.txt", "content": "</parameter> too"}),)),
        Case("function end in a string", written("qwen3_coder", (_write("</function>"),)),
             (("write-file", {"path": "a.txt", "content": "</function>"}),)),
        Case("whole call in a string", written("qwen3_coder", (_write(written("qwen3_coder",
             (BERN,))),)),
             (("write-file", {"path": "a.txt", "content": written("qwen3_coder", (BERN,))}),)),
        Case("quotes around the name", '<tool_call>\n<function="weather">\n<parameter=city>\nBern\n'
             "</parameter>\n</function>\n</tool_call>", _B),
        Case("spaces in the marks", "<tool_call>\n<function = weather>\n<parameter = city>\nBern\n"
             "</parameter>\n</function>\n</tool_call>", _B),
        Case("True of Python", "<tool_call>\n<function=search>\n<parameter=query>\nx\n</parameter>"
             "\n<parameter=exact>\nTrue\n</parameter>\n</function>\n</tool_call>",
             (("search", {"query": "x", "exact": True}),)),
        Case("broken JSON for an object", "<tool_call>\n<function=search>\n<parameter=query>\nx\n"
             "</parameter>\n<parameter=filter>\n{'a': 1}\n</parameter>\n</function>\n</tool_call>",
             (("search", {"query": "x", "filter": {"a": 1}}),)),
        Case("reasoning parser", f"<think>\nIt fits.\n</think>\n\n{_qwen(BERN)}", _B,
             reasoning="qwen3"),
        Case("reasoning parser, call within", f"<think>\nSo {_qwen(BERN)}", _B,
             reasoning="qwen3"),
        Case("reasoning parser, no call", "<think>\nIt fits.\n</think>\n\nHello.",
             reasoning="qwen3"),
    ),
}  # fmt: skip


def cases_of(parser: str) -> list[Case]:
    """Write a parser's cases."""
    given = COMMON if parser == "qwen3_coder" else COMMON | JSON_ONLY
    cases = [
        Case(name, written(parser, parts), tuple(_meant(parser, parts)))
        for name, parts in given.items()
    ]
    cases = (cases + list(OWN[parser]))[:PER_PARSER]
    return cases + list(_cuts(parser, PER_PARSER - len(cases)))


def _meant(parser: str, parts: tuple[Part, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    for part in parts:
        if isinstance(part, Call):
            is_text = parser == "qwen3_coder"
            yield part.name, _as_texts(part) if is_text else part.arguments


def _as_texts(call: Call) -> dict[str, Any]:
    """Read arguments as Qwen's form means them: what the schema does not say otherwise is text."""
    typed = next((x for x in TOOLS if x["function"]["name"] == call.name), None)
    known = typed["function"]["parameters"]["properties"] if typed else {}
    return {
        name: value
        if isinstance(value, str) or known.get(name, _STRING) != _STRING
        else json.dumps(value, ensure_ascii=False)
        for name, value in call.arguments.items()
    }


def _cuts(parser: str, number: int) -> Iterator[Case]:
    """An answer of two calls, cut; meant are those that are whole."""
    parts = ("" if parser == "llama3_json" else "Let me look.\n", ROME, SUM)
    text, first = written(parser, parts), written(parser, parts[:2])
    # What closes after the arguments may be missing.
    ends = len(first.removesuffix("]").removesuffix("\n</tool_call>").removesuffix("}"))
    for at in range(1, number + 1):
        part = text[: len(text) * at // (number + 1)]
        meant = _meant(parser, (ROME,)) if len(part) >= ends else ()
        yield Case(f"cut off, {at} of {number}", part, tuple(meant), is_cut=True)
