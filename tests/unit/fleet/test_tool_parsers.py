"""The installed vLLM's tool parsers do what their files say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.engine.parsers.forms import PARSERS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]


def test_the_installed_parsers_do_as_before():
    # A process of its own: vLLM warns at import, and warnings are errors here.
    command = [sys.executable, "-m", "serve_app.cli", "doctor", "--parsers", "--json"]
    command += ["--config", str(ROOT / "configs" / "fleets" / "rtx4090.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    findings = json.loads(done.stdout)
    assert [finding["check"] for finding in findings] == [f"parser {name}" for name in PARSERS]
    assert [finding["detail"] for finding in findings if not finding["ok"]] == []
    assert done.returncode == 0
