"""Where BFCL's data is: in an environment of its own, which `scripts/install-bfcl` makes.

BFCL_PYTHON=PATH make bench-loops   # the interpreter of another one
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SUPPORT = Path(__file__).parent


def read_bfcl(script: str) -> list[dict[str, Any]]:
    """The lines of a script that is run where BFCL is; none, and why, where it is not."""
    python = os.environ.get("BFCL_PYTHON") or str(ROOT / ".venv-bfcl/bin/python")
    try:
        run = subprocess.run(
            [python, str(SUPPORT / script)], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        why = (getattr(error, "stderr", "") or "").strip().splitlines()[-1:] or [str(error)]
        print(f"no BFCL data: {why[0]} (scripts/install-bfcl)")
        return []
    return [json.loads(line) for line in run.stdout.splitlines()]
