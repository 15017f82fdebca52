"""Commands on the pages about fleets are commands, and what one of them prints is what it says."""

import contextlib
import importlib.util
import io
import re
import shlex
from pathlib import Path

import pytest

from serve_app.cli import build_parser, main

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("planning", "autoscaling", "swap", "simulation")
BLOCK = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")


def blocks(page):
    """Lines of code that begin with a command, without the prompt."""
    for block in BLOCK.findall((DOCS / f"{page}.md").read_text()):
        for line in block.splitlines():
            if (line := line.removeprefix("$ ")).startswith("pointsman "):
                yield line


def named(page, begin):
    text = BLOCK.sub("", (DOCS / f"{page}.md").read_text())
    return [x for x in INLINE.findall(text) if x.startswith(begin)]


def parsed(words):
    """Return what argparse says against a command line; None: nothing."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            build_parser().parse_args(words)
        except SystemExit as ended:
            return told.getvalue() if ended.code else None
    return None


@pytest.mark.parametrize(
    "line", sorted({line for page in PAGES for line in blocks(page)}), ids=lambda x: x[10:50]
)
def test_a_command_of_a_page_can_be_typed_as_it_stands(line):
    assert parsed(shlex.split(line)[1:]) is None


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_and_their_options_exist(page):
    for text in named(page, "pointsman "):
        words = [x for x in shlex.split(text)[1:] if x.isidentifier() or x.startswith("--")]
        command = [x for x in words if not x.startswith("--")][:2]
        told = io.StringIO()
        with contextlib.redirect_stdout(told), pytest.raises(SystemExit, match="0"):
            main([*command, "--help"])
        for option in (x for x in words if x.startswith("--")):
            assert option in told.getvalue(), text


@pytest.mark.parametrize("page", PAGES)
def test_benchmarks_that_a_page_names_are_there(page):
    modules = [f"benchmarks.{x.removeprefix('make bench-')}" for x in named(page, "make bench-")]
    modules += [shlex.split(x)[2] for x in named(page, "python -m ")]
    for name in modules:
        assert importlib.util.find_spec(name) is not None, name


def test_the_options_of_the_planners_tables_exist():
    told = io.StringIO()
    with contextlib.redirect_stdout(told), pytest.raises(SystemExit, match="0"):
        main(["plan", "--help"])
    options = [x for text in named("planning", "--") for x in text.split() if x.startswith("--")]
    assert len(options) > 20
    assert [x for x in options if x not in told.getvalue()] == []


def test_the_planners_example_prints_what_the_page_has(capsys):
    block = next(x for x in BLOCK.findall((DOCS / "planning.md").read_text()) if "$ " in x)
    line, _, printed = block.partition("\n")
    assert main(shlex.split(line.removeprefix("$ "))[1:]) == 0

    def ours(text):
        """Without hosted prices, which another release of `genai-prices` has others of."""
        return [x for x in text.splitlines() if not x.lstrip().startswith("hosted, ")]

    assert ours(capsys.readouterr().out) == ours(printed)
