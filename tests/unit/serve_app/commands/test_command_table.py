import argparse
import subprocess
import sys

import pytest

from serve_app.cli import COMMANDS, build_parser


def names(parser: argparse.ArgumentParser) -> list[str]:
    (action,) = [x for x in parser._actions if isinstance(x, argparse._SubParsersAction)]
    return list(action.choices)


@pytest.mark.parametrize("module", COMMANDS)
def test_a_module_adds_the_commands_that_the_table_says(module):
    assert names(build_parser(COMMANDS[module][0])) == list(COMMANDS[module])


@pytest.mark.parametrize("asked", [None, "--help", "nonsense"])
def test_what_is_no_command_gets_all_of_them(asked):
    assert names(build_parser(asked)) == [x for listed in COMMANDS.values() for x in listed]


def test_simulating_a_fleet_imports_nothing_heavy():
    program = (
        "import sys; from serve_app.cli import build_parser; build_parser('simulate'); "
        "import serve_app.commands.simulate_fleet; "
        "print(sorted({'ray', 'numpy', 'aiohttp', 'scipy', 'vllm'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
