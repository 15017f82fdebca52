"""What a file of a tool set may hold, and the one form in which engines read it."""

import random

import pytest
import yaml

from serve_app.agents.tool_order import in_order
from serve_app.config.errors import ConfigError
from serve_app.config.settings import home
from serve_app.registry.files import read_file, tool_files
from serve_app.registry.tool_set import CHAT, MESSAGES, RESPONSES, published
from tests.unit.serve_app.registry.tool_files import SCHEMA, tool, write


def test_every_shipped_set_can_be_read():
    """And is what is described in docs/tools.md: a name that says its version."""
    files = tool_files(home() / "configs" / "tools")

    assert [read_file(path).label for path in files] == ["shop@1"]


def test_each_route_gets_the_tools_in_its_own_form(tmp_path):
    found = read_file(write(tmp_path, tools=[tool(strict=True)]))

    said = {"name": "find_person", "description": "What find_person does.", "strict": True}
    chat, responses, messages = (found.forms[x].tools for x in (CHAT, RESPONSES, MESSAGES))
    assert chat == [{"type": "function", "function": {**said, "parameters": SCHEMA}}]
    assert responses == [{"type": "function", **said, "parameters": SCHEMA}]
    assert messages == [{**said, "input_schema": SCHEMA}]


def test_examples_are_lines_of_the_description(tmp_path):
    """In a fixed form: keys in order, whitespace of the file's layout gone."""
    examples = [
        {"asked": "Who is\n  Ada?", "arguments": {"name": "Ada", "limit": 1}},
        {"arguments": {"name": "Bob"}},
    ]
    found = read_file(write(tmp_path, tools=[tool(examples=examples)]))

    assert found.forms[MESSAGES].tools[0]["description"].splitlines() == [
        "What find_person does.",
        'Example: Who is Ada? -> find_person({"limit":1,"name":"Ada"})',
        'Example: find_person({"name":"Bob"})',
    ]


@pytest.mark.parametrize("seed", range(5))
def test_a_set_is_read_in_one_form_whatever_the_order_in_its_file(tmp_path, seed):
    """The same digest and the same bytes, and what an inline client in order would send."""
    tools = [tool(f"t{number}") for number in range(9)]
    first = read_file(write(tmp_path, tools=tools))
    mixer = random.Random(seed)
    mixed = [dict(mixer.sample(list(x.items()), len(x))) for x in mixer.sample(tools, len(tools))]

    again = read_file(write(tmp_path, tools=mixed, note="another note"))

    assert (again.digest, again.forms) == (first.digest, first.forms)
    for form in again.forms.values():
        assert in_order(form.tools) == form.tools


def test_what_was_published_is_made_of_its_content_again(tmp_path):
    found = read_file(write(tmp_path, tools=[tool(examples=[{"arguments": {"name": "x"}}])]))

    assert published(found.content) == found


BOMB = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x]"]
    + [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefg", "bcdefgh", strict=True)]
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tools": []}, "tools"),
        ({"name": "CRM"}, "name"),
        ({"version": 0}, "version"),
        ({"toolz": 1}, "did you mean 'tools'"),
        ({"tools": [tool(), tool()]}, "two of them have the name 'find_person'"),
        ({"tools": [tool("a b")]}, "name"),
        ({"tools": [tool(parameters={"type": "string"})]}, "type: object"),
        ({"tools": [tool(parameters={"type": "object", "properties": 3})]}, "no JSON schema"),
        (
            {"tools": [tool(parameters={"type": "object", "$ref": "http://localhost:1/s.json"})]},
            "another document is not followed",
        ),
        (
            {"tools": [tool(examples=[{"arguments": {"limit": 1}}])]},
            '"name" is a required property',
        ),
        ({"tools": [tool(examples=[{"arguments": {"name": "x"}}] * 6)]}, "examples"),
        ({"tools": [tool(description="x" * 300 * 60)] * 1}, None),
        ({"tools": [tool(f"t{i}", description="x" * 15_000) for i in range(9)]}, "at most"),
    ],
    ids=lambda x: x if isinstance(x, str) else None,
)
def test_a_file_that_cannot_be_served_says_why(tmp_path, change, said):
    path = write(tmp_path, name="crm", version=7)
    path.write_text(yaml.safe_dump({"name": "crm", "version": 7, "tools": [tool()], **change}))
    if said is None:
        assert read_file(path).label == "crm@7"
        return
    with pytest.raises(ConfigError, match=r"crm-7\.yaml") as caught:
        read_file(path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "tools: [{name: t, parameters: {type: object, default: 2024-01-01}}]",
        "tools: [{name: t, parameters: {type: object, minimum: .nan}}]",
        "tools: [{name: t, parameters: {type: object, minimum: 123456789012345678901}}]",
        "tools: [{name: t, parameters: {type: object, enum: {1: x}}}]",
        "tools: &a [*a]",
        BOMB,
    ],
    ids=["a date", "no number", "past 64 bits", "a key that is none", "endless", "a bomb"],
)
def test_what_json_does_not_have_is_no_part_of_a_tool(tmp_path, text):
    """It would reach models as something else, or never end."""
    path = tmp_path / "crm-7.yaml"
    path.write_text(f"name: crm\nversion: 7\n{text}\n")

    with pytest.raises(ConfigError):
        read_file(path)


def test_a_file_is_named_for_its_version(tmp_path):
    path = write(tmp_path)

    with pytest.raises(ConfigError, match=r"describes crm@7, whose file is crm-7\.yaml"):
        read_file(path.rename(tmp_path / "crm-8.yaml"))


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = write(tmp_path)
    path.write_text(path.read_text() + "#" * 2**20)

    with pytest.raises(ConfigError, match="at most"):
        read_file(path)
