"""Multi-turn conversations of BFCL with what its tools really return, as JSON lines.

    PYTHON benchmarks/support/bfcl_transcripts.py

PYTHON is an interpreter that has `bfcl-eval` and `mpmath`; nothing of Pointsman is
imported. The calls are BFCL's ground truth, run against its own simulated systems.
"""

from __future__ import annotations

import ast
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

CATEGORIES = ("base", "miss_func", "miss_param", "long_context")


def transcripts(data: Path, execute: Any) -> Any:
    """Yield each conversation: its id, and for each turn its calls with their results."""
    for category in CATEGORIES:
        name = f"BFCL_v4_multi_turn_{category}.json"
        questions = [json.loads(x) for x in (data / name).read_text().splitlines()]
        answers = (data / "possible_answer" / name).read_text().splitlines()
        for question, answer in zip(questions, map(json.loads, answers), strict=True):
            is_long = category == "long_context"
            turns = [
                [run_call(execute, text, question, is_long=is_long) for text in turn]
                for turn in answer["ground_truth"]
            ]
            yield {"id": question["id"], "turns": turns}


def read_call(text: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a call in Python's syntax."""
    call: Any = ast.parse(text.strip(), mode="eval").body
    given = {str(index): ast.literal_eval(value) for index, value in enumerate(call.args)}
    given |= {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    return ast.unparse(call.func), given


def run_call(
    execute: Any, text: str, question: dict[str, Any], *, is_long: bool
) -> tuple[str, dict[str, Any], str]:
    """Name, arguments and result of a call."""
    results, _ = execute(
        [text],
        question["initial_config"],
        question["involved_classes"],
        "ground_truth",
        question["id"],
        long_context=is_long,
    )
    return *read_call(text), str(results[0])


if __name__ == "__main__":
    package = "bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils"
    run = import_module(package).execute_multi_turn_func_call
    folder = Path(str(import_module("bfcl_eval").__file__)).parent / "data"
    for transcript in transcripts(folder, run):
        sys.stdout.write(json.dumps(transcript) + "\n")
