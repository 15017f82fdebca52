"""Runs what `pointsman connect` prints for an SDK, and says hello with what it makes.

Run by the harness with the clients' interpreter: `python printed.py FILE`. Each expression of
the text that makes something is used: an answer is printed, a model is asked.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any


def hello(made: Any) -> str:
    """The text of an answer, or of what a model answers."""
    if hasattr(made, "invoke"):
        return str(made.invoke("hello").text)
    if hasattr(made, "output_text"):
        return str(made.output_text)
    return "".join(block.text for block in made.content if block.type == "text")


def of_agent(agent: Any) -> str:
    if hasattr(agent, "run_sync"):
        return str(agent.run_sync("hello").output)
    import agents

    return str(agents.Runner.run_sync(agent, "hello").final_output)


def main(text: str) -> None:
    names: dict[str, Any] = {}
    said = []
    for statement in ast.parse(text).body:
        is_made = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
        if is_made and not ast.unparse(statement).startswith("agents.set_"):
            said.append(hello(eval(ast.unparse(statement), names)))
        else:
            exec(ast.unparse(statement), names)
    if "agent" in names:
        said.append(of_agent(names["agent"]))
    assert said and all(said), "it made nothing that answers"
    print("\n".join(f"said: {text}" for text in said))


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text())
