"""Conversations that every parser of the suite gets, in its own model's form."""

from __future__ import annotations

from typing import Any

from serve_app.engine.parsers.forms import Call, Part

BERN = Call("weather", {"city": "Bern"})
ROME = Call("weather", {"city": "Rome", "days": 3})
SUM = Call("add", {"a": 1, "b": 2})
NOW = Call("now", {})


def _search(**arguments: Any) -> Call:
    return Call("search", {"query": "x", **arguments})


def write_file(content: str) -> Call:
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
    "one, dash in its name": (write_file("x"),),
    "no arguments": (NOW,),
    "empty string": (write_file(""),),
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
    "five": (BERN, SUM, _search(), ROME, write_file("x")),
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
    "string that looks like JSON": (write_file('{"a": [1, 2]}'),),
    "umlauts": (Call("weather", {"city": "Zürich"}),),
    "emoji": (Call("weather", {"city": "🌧️ Bern 👩‍👩‍👧"}),),
    "Chinese": (Call("weather", {"city": "東京", "wet": "雨が降る"}),),
    "right to left": (Call("weather", {"city": "القدس"}),),
    "quotes": (write_file('She said "yes" and left.'),),
    "backslashes": (write_file("C:\\temp\\new and \\\\host"),),
    "line breaks": (write_file("one\ntwo\n\nthree\n"),),
    "tabs": (write_file("\tone\n\t\ttwo"),),
    "code": (write_file("def f(x):\n    return {'a': [x, \"b\"]}\n"),),
    "XML": (write_file('<a href="x">1 &amp; 2</a>'),),
    "braces in a string": (write_file("}{ ]}[ }}"),),
    "long string": (write_file("lorem ipsum " * 40),),
    "spaces around a string": (write_file("  two  "),),
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
