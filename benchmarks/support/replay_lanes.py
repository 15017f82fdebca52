"""One model on three lanes of one deployment, compared by `pointsman replay --compare`."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.support.deployment import deployed
from benchmarks.support.replay_dtypes import REGRESSION
from serve_app import cli

FLEET = Path(__file__).with_name("replay_lanes_fleet.yaml")
COMPARED = ("kv=fp8,kv=16bit", "kv=16bit,kv=32bit", "small_cache,full")
READY_S = 600


def lane_rows(out: Path | None = None) -> list[dict[str, Any]]:
    """Compare each pair on the regression set; runs and their pages are kept in `out`."""
    with contextlib.ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(deployed(ready_s=READY_S, fleet=str(FLEET)))
        return [_row(url, pair, folder / pair.replace("=", "-")) for pair in COMPARED]


def _row(url: str, pair: str, out: Path) -> dict[str, Any]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        words = ["replay", "--compare", pair, "--gold", str(REGRESSION), "--json"]
        status = cli.main([*words, "--url", url, "--out", str(out)])
    (told,) = json.loads(said.getvalue())["runs"]
    gate = told["gates"]["final answers"]
    return {
        "compare": pair,
        "candidate": told["candidate"],
        "incumbent": told["incumbent"],
        "cases": told["cases"],
        "unanswered": told["unanswered"],
        "alike_share": told["same_share"],
        "text_kept_share": told["kept_share"],
        "better": told["better"],
        "worse": told["worse"],
        "right_share": gate["candidate"],
        "incumbent_right_share": gate["incumbent"],
        "ratio": gate["ratio"],
        "ratio_low": gate["ratio_low"],
        "ratio_high": gate["ratio_high"],
        "gate": gate["verdict"],
        "exit_status": status,
    }
