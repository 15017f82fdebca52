"""A small agent against a Pointsman deployment, with the stock OpenAI SDK.

    make serve                                   # in one shell
    .venv/bin/python examples/agent.py           # in another
    .venv/bin/python examples/agent.py --url https://llm.example.org --model quality "Order a desk."

It has two tools, demands the first call, and stops after a few steps whatever the model says.
Each step is printed with the lane that answered, why, and what had to be done to make a call
valid. The key, if the deployment needs one, is in POINTSMAN_API_KEY.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import uuid
from collections.abc import Callable
from typing import Any

import openai

STOCK = {"lamp": 3, "desk": 12, "chair": 0}
MOST_STEPS = 5
MOST_TOKENS = 300
ASKED = "How many lamps are in stock? If there are fewer than five, order two more."


def count_stock(product: str) -> str:
    """Say how many pieces of a product are in stock."""
    return f"{STOCK[product]} in stock"


def order(product: str, pieces: int) -> str:
    """Order pieces of a product; they arrive at once."""
    STOCK[product] += pieces
    return f"ordered {pieces}, now {STOCK[product]} in stock"


FUNCTIONS: dict[str, Callable[..., str]] = {"count_stock": count_stock, "order": order}
_PRODUCT = {"type": "string", "enum": sorted(STOCK)}
_PIECES = {"type": "integer", "minimum": 1, "maximum": 9}
_PARAMETERS: dict[str, dict[str, Any]] = {
    "count_stock": {"product": _PRODUCT},
    "order": {"product": _PRODUCT, "pieces": _PIECES},
}
TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": function.__doc__,
            # `strict` has the engine hold every call of the tool to this schema.
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": _PARAMETERS[name],
                "required": list(_PARAMETERS[name]),
                "additionalProperties": False,
            },
        },
    }
    for name, function in FUNCTIONS.items()
]


def run(client: openai.OpenAI, model: str, asked: str) -> str:
    """Work on what is asked until the model answers in words; the words."""
    # One session keeps the steps on the replica that has their beginning in its cache; the
    # task's id bounds what all of them may use, together with those of other sessions.
    task = uuid.uuid4().hex
    headers = {"x-session-id": f"agent-{task}", "x-task-id": task}
    messages: list[Any] = [
        {"role": "system", "content": "You look after a shop's stock. Use the tools."},
        {"role": "user", "content": asked},
    ]
    for step in range(1, MOST_STEPS + 1):
        # The first answer has to call a tool, the last one may not.
        choice: Any = "required" if step == 1 else "none" if step == MOST_STEPS else "auto"
        raw = client.chat.completions.with_raw_response.create(
            model=model,
            messages=messages,
            tools=TOOLS,
            tool_choice=choice,
            max_tokens=MOST_TOKENS,
            extra_headers=headers,
        )
        said = raw.parse().choices[0].message
        _print_step(step, raw.headers)
        messages.append(said.model_dump(exclude_none=True))
        if not said.tool_calls:
            return said.content or ""
        for call in said.tool_calls:
            result = _result(call)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return ""


def _print_step(step: int, headers: Any) -> None:
    lane, reason = (headers.get(f"x-pointsman-{name}", "?") for name in ("lane", "reason"))
    repair = headers.get("x-pointsman-tool-repair")
    mended = f"; the call was made again: {repair}" if repair else ""
    print(f"step {step}: lane {lane} ({reason}){mended}")


def _result(call: Any) -> str:
    """What a call gives back; also where it makes no sense: the model is told."""
    name, given = call.function.name, call.function.arguments
    try:
        result = FUNCTIONS[name](**json.loads(given))
    except (KeyError, TypeError, ValueError) as error:
        result = f"that call is not valid: {error!r}"
    print(f"  {name}({given}) -> {result}")
    return result


def main() -> int:
    """Run the agent; 1 where the deployment refused or could not be reached."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("asked", nargs="?", default=ASKED)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--model", default="auto")
    args = parser.parse_args()
    key = os.environ.get("POINTSMAN_API_KEY", "none")
    client = openai.OpenAI(base_url=f"{args.url}/v1", api_key=key)
    try:
        print(f"answer: {run(client, args.model, args.asked)}")
    except openai.APIError as error:
        print(f"the deployment did not answer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
