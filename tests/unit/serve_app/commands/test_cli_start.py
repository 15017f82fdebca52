"""What the command loads before it knows what it is asked for."""

import subprocess
import sys


def test_the_command_loads_neither_serve_nor_an_engine():
    """They take seconds, and most subcommands use none of them."""
    slow = "{'ray.serve', 'vllm', 'torch', 'pandas', 'pg8000'}"
    script = f"import serve_app.cli, sys; print(sorted({slow} & set(sys.modules)))"

    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )

    assert found.stdout.strip() == "[]"
