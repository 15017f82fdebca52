"""Running `pointsman classifier label` from a test."""

import argparse
import json
import sys
import time
from pathlib import Path

from serve_app.commands.label.command import add_label

KEY = "pm-0123456789ab-SECRETSECRETSECRET"
PROMPTS = [
    {"id": "sum", "text": "6 * 7?", "answer": 42, "domain": "maths"},
    {"text": "Capital of France?", "answers": ["Paris", "Paris, France"]},
    {"id": 3, "messages": [{"role": "user", "content": "B or C?"}], "answer": "B"},
]


def write(path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path) -> list:
    return [json.loads(line) for line in path.read_text().splitlines()]


def label(fake, prompts, *more, samples=1) -> int:
    """Run the command; its exit status."""
    parser = argparse.ArgumentParser()
    add_label(parser.add_subparsers())
    words = ["label", "--prompts", str(prompts), "--lanes", "chat,quality", "--json"]
    words += ["--samples", str(samples), "--url", fake.url, "--out", str(out_of(prompts)), *more]
    args = parser.parse_args(words)
    return args.func(args)


def out_of(prompts) -> Path:
    return prompts.with_name("out.jsonl")


def summary(capsys) -> dict:
    return json.loads(capsys.readouterr().out)


def program(path, source) -> str:
    """A command line for a checking program; `given` is what it reads."""
    path.write_text(f"import json, sys\ngiven = json.load(sys.stdin)\n{source}\n")
    return f"'{sys.executable}' '{path}'"


def is_gone(pid, within_s=10.0) -> bool:
    """Whether a process that was killed is gone: only its parent's end was waited for."""
    path, deadline = Path(f"/proc/{pid}/stat"), time.monotonic() + within_s
    # Killed but not yet collected by its new parent counts as gone.
    while path.exists() and path.read_text().rpartition(") ")[2][0] not in "ZX":
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
