"""One model, run in several dtypes, on the regression set; each engine in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

from evals.replay.cases import Case, gold_case
from evals.replay.said import Said, said_from
from evals.replay.scoring import Checks, score, summarize
from simulator.home import configs

REGRESSION = configs("evals") / "regression.jsonl"

WAYS: dict[str, dict[str, str]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "float32, kv fp8": {"dtype": "float32", "kv_cache_dtype": "fp8"},
    "bfloat16, kv fp8_e5m2": {"dtype": "bfloat16", "kv_cache_dtype": "fp8_e5m2"},
}
INCUMBENT = "float32"
WITHIN_S = 900


def dtype_rows() -> list[dict[str, Any]]:
    """Answer the set in each way, and score each against the first."""
    cases = regression_cases()
    said = {name: _answers(name, way) for name, way in WAYS.items()}
    rows = []
    for name in WAYS:
        row: dict[str, Any] = {"candidate": name, "incumbent": INCUMBENT}
        answers, usual = said[name], said[INCUMBENT]
        if isinstance(answers, dict):
            rows.append(row | answers)
        elif not isinstance(usual, dict):
            rows.append(row | _row(cases, answers, usual))
    return rows


def regression_cases() -> list[Case]:
    """Return the shipped regression set."""
    lines = REGRESSION.read_text(encoding="utf-8").splitlines()
    return [gold_case(json.loads(line), f"{n}") for n, line in enumerate(lines, 1)]


def _row(cases: list[Case], answers: list[Said], usual: list[Said]) -> dict[str, Any]:
    pairs = zip(cases, answers, usual, strict=True)
    scored = [score(case, one, other, Checks({}, {})) for case, one, other in pairs]
    found = summarize(scored)
    gate, ratio, changes = found.answers_gate, found.answers_gate.ratio, found.changes
    assert changes is not None
    return {
        "cases": found.cases,
        "alike_share": changes.same_share,
        "text_kept_share": changes.kept_share,
        "right_share": gate.candidate,
        "incumbent_right_share": gate.incumbent,
        "ratio": ratio.value if ratio else None,
        "ratio_low": ratio.low if ratio else None,
        "ratio_high": ratio.high if ratio else None,
        "gate": gate.verdict.value,
    }


def _answers(name: str, way: dict[str, str]) -> list[Said] | dict[str, Any]:
    """Return the answers, or a row that says why there are none."""
    command = [sys.executable, "-m", "benchmarks.support.replay_dtypes", json.dumps(way)]
    env = os.environ | {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=WITHIN_S)
    except subprocess.TimeoutExpired:
        return {"gate": f"no end within {WITHIN_S} s"}
    finally:
        # The engine has processes of its own, which do not go with the one that began them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        told = [x for x in errors.splitlines() if "Error" in x]
        return {"gate": "does not run: " + (told[-1] if told else f"{name}: {process.returncode}")}
    return [said_from(json.loads(line)) for line in out.splitlines() if line[:1] == "{"]


def main() -> None:
    """Answer the set with one engine, and print an answer a line."""
    from vllm import LLM, SamplingParams

    from serve_app.engine.embedded_model import prepare

    way: dict[str, Any] = json.loads(sys.argv[1])
    engine = LLM(
        model=str(prepare()),
        max_model_len=1024,
        kv_cache_memory_bytes=512 * 1024 * 1024,
        block_size=32,
        # All at once, in each way alike: how a batch is put together is no difference then.
        max_num_seqs=64,
        enforce_eager=True,
        enable_prefix_caching=False,
        **way,
    )
    cases = regression_cases()
    wanted = [SamplingParams(temperature=0, max_tokens=x.body["max_tokens"]) for x in cases]
    found = engine.chat([x.body["messages"] for x in cases], wanted, use_tqdm=False)
    for one in found:
        text, finish = one.outputs[0].text, one.outputs[0].finish_reason
        print(json.dumps(Said(text, (), finish).to_dict()))


if __name__ == "__main__":
    main()
