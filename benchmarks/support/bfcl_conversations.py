"""BFCL's prompts with their tools and the right calls, as JSON lines.

    PYTHON benchmarks/support/bfcl_conversations.py

PYTHON is an interpreter that has `bfcl-eval` and `mpmath`; nothing of Pointsman is
imported. The calls are BFCL's ground truth; those of the multi-turn categories were run
against its own simulated systems. Types are mapped to JSON schema's as BFCL does it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

transcripts = import_module("bfcl_transcripts").transcripts

SINGLE = ("simple_python", "multiple", "parallel", "parallel_multiple")
MULTI = ("base", "long_context")


def single_turn(data: Path, types: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Conversations of one turn, whose calls are all made at once."""
    for category in SINGLE:
        name = f"BFCL_v4_{category}.json"
        asked, right = _lines(data / name), _lines(data / "possible_answer" / name)
        for question, answer in zip(asked, right, strict=True):
            calls = [
                [_named(tool), {k: v[0] for k, v in given.items() if v[0] != ""}, ""]
                for call in answer["ground_truth"]
                for tool, given in call.items()
            ]
            user = "\n".join(message["content"] for message in question["question"][0])
            yield {
                "id": question["id"],
                "category": category,
                "tools": [_tool(tool, types) for tool in question["function"]],
                "turns": [{"user": user, "calls": calls}],
            }


def multi_turn(data: Path, types: dict[str, str], execute: Any, files: Any) -> Iterator[Any]:
    """Conversations of several turns, whose calls are made one after another."""
    made = {talk["id"]: talk["turns"] for talk in transcripts(data, execute)}
    for category in MULTI:
        for question in _lines(data / f"BFCL_v4_multi_turn_{category}.json"):
            classes = question["involved_classes"]
            docs = [x for c in classes for x in _lines(data / "multi_turn_func_doc" / files[c])]
            tools = [_tool(doc, types) for doc in docs]
            order = {tool["name"]: list(tool["parameters"]["properties"]) for tool in tools}
            turns = [
                {
                    "user": "\n".join(message["content"] for message in said),
                    "calls": [
                        [name, _by_name(given, order.get(name, [])), result]
                        for name, given, result in calls
                    ],
                }
                for said, calls in zip(question["question"], made[question["id"]], strict=True)
            ]
            yield {
                "id": question["id"],
                "category": f"multi_turn_{category}",
                "tools": tools,
                "turns": turns,
            }


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _named(name: str) -> str:
    """A name as OpenAI's interface allows it."""
    return name.replace(".", "_")


def _tool(doc: dict[str, Any], types: dict[str, str]) -> dict[str, Any]:
    return {
        "name": _named(doc["name"]),
        "description": doc["description"],
        "parameters": _schema(doc["parameters"], types),
    }


def _schema(given: Any, types: dict[str, str]) -> Any:
    """A schema of BFCL's as JSON schema. What is of any type has none."""
    if not isinstance(given, dict):
        return given
    made = {k: v for k, v in given.items() if k not in ("type", "properties", "items", "optional")}
    kind = given.get("type")
    if isinstance(kind, str) and kind not in ("any", "Any"):
        made["type"] = types[kind]
    if "properties" in given:
        made["properties"] = {k: _schema(v, types) for k, v in given["properties"].items()}
    if "items" in given:
        made["items"] = _schema(given["items"], types)
    return made


def _by_name(given: dict[str, Any], order: list[str]) -> dict[str, Any]:
    """Arguments whose place was told by name."""
    return {order[int(k)] if k.isdigit() else k: v for k, v in given.items()}


if __name__ == "__main__":
    package = "bfcl_eval.eval_checker.multi_turn_eval.multi_turn_utils"
    run = import_module(package).execute_multi_turn_func_call
    mapping = import_module("bfcl_eval.constants.type_mappings").GORILLA_TO_OPENAPI
    documents = import_module("bfcl_eval.constants.executable_backend_config")
    folder = Path(str(import_module("bfcl_eval").__file__)).parent / "data"
    for talk in single_turn(folder, mapping):
        sys.stdout.write(json.dumps(talk) + "\n")
    for talk in multi_turn(folder, mapping, run, documents.MULTI_TURN_FUNC_DOC_FILE_MAPPING):
        sys.stdout.write(json.dumps(talk) + "\n")
