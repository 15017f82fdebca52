"""`examples/agent.py` against a scripted engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.clients.servers import engine

ROOT = Path(__file__).resolve().parents[2]
COUNT = {"calls": [{"count_stock": {"product": "lamp"}}]}
ORDER = {"calls": [{"order": {"product": "lamp", "pieces": 2}}]}


def run_agent(folder: Path, *steps: object) -> subprocess.CompletedProcess[str]:
    """Run it against an engine that answers in these steps."""
    script = folder / "script.yaml"
    script.write_text(yaml.safe_dump({"turns": [{"steps": list(steps)}]}))
    with engine(script) as (port, model):
        url = f"http://127.0.0.1:{port}"
        return _run("--url", url, "--model", model)


def _run(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples/agent.py"), *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_it_calls_its_tools_and_says_what_came_of_it(tmp_path):
    done = run_agent(tmp_path, COUNT, ORDER, {"text": "There are five lamps now."})

    assert done.returncode == 0, done.stderr
    assert 'count_stock({"product":"lamp"}) -> 3 in stock' in done.stdout
    assert "-> ordered 2, now 5 in stock" in done.stdout
    assert done.stdout.endswith("answer: There are five lamps now.\n")
    assert done.stdout.count("step ") == 3


@pytest.mark.slow
def test_it_ends_with_a_model_that_would_call_for_ever(tmp_path):
    done = run_agent(tmp_path, COUNT, {**ORDER, "text": "And two more."})

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step ") == 5
    assert done.stdout.endswith("answer: And two more.\n")


@pytest.mark.slow
def test_it_says_that_nobody_is_there():
    done = _run("--url", "http://127.0.0.1:9")

    assert done.returncode == 1
    assert done.stderr.startswith("the deployment did not answer: ")
