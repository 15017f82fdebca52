"""`pointsman connect CLIENT`: the lines that set a client up for one deployment and caller.

It asks `/v1/models` as the caller, so that names and windows are true for the key that is
given. The key itself is never printed: the lines name the variable that holds it.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from serve_app.commands.client import CommandError, request_json, subparser
from serve_app.commands.connect_recipes import PLACES, RECIPES, Part, Recipe
from serve_app.config.errors import nearest

MOST_OUTPUT_TOKENS = 32_000
"""What coding clients ask for by themselves."""

_KEY_ID = re.compile(r"pm-[0-9a-f]{1,32}(?=-)")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a recipe is filled with; `window` is in tokens of prompt and answer."""

    url: str
    model: str
    small: str
    window: int
    has_key: bool

    @property
    def output(self) -> int:
        """Tokens of an answer: a quarter of the window, so that most of it holds the task."""
        return min(MOST_OUTPUT_TOKENS, self.window // 4)


def add_commands(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "Print what sets a client up for a deployment."
    parent = subparsers.add_parser(
        "connect", help=summary, description=summary, epilog="example: pointsman connect codex"
    )
    clients = parent.add_subparsers(dest="client", required=True, metavar="CLIENT")
    for recipe in RECIPES:
        parser = subparser(
            clients,
            recipe.name,
            f"Print what sets {recipe.title} up.",
            f"pointsman connect {recipe.name} --url http://127.0.0.1:8000 --model auto",
        )
        parser.add_argument("--model", default="auto", help="a name of /v1/models; default: auto")
        parser.add_argument("--small-model", help="for titles and summaries; default: the model")
        parser.set_defaults(func=_connect, recipe=recipe)


def render(recipe: Recipe, part: Part, setting: Setting) -> str:
    """Return the text of a part with its places filled."""
    values = {name: str(getattr(setting, name)) for name in PLACES if name != "key"}
    quoted = {name: _quoted(value, part.language) for name, value in values.items()}
    text = part.text
    for name, value in {**quoted, "key": _key(recipe, part, has_key=setting.has_key)}.items():
        text = text.replace(f"<<{name}>>", value)
    return f"import os\n\n{text}" if "os.environ" in text else text


def _key(recipe: Recipe, part: Part, *, has_key: bool) -> str:
    if has_key:
        return recipe.key
    return '"none"' if part.language == "python" else "none"


def _quoted(value: str, language: str) -> str:
    """Return a value as the text's language needs it, inside quotes where it has some."""
    if language == "bash":
        return shlex.quote(value)
    return value if language == "text" else json.dumps(value, ensure_ascii=False)[1:-1]


def _connect(args: argparse.Namespace) -> int:
    recipe: Recipe = args.recipe
    names = [card["id"] for card in request_json(args, "GET", "/v1/models")["data"]]
    setting = _setting(args, names)
    parts = [(part, render(recipe, part, setting)) for part in recipe.parts]
    notes = [*_warnings(recipe, setting), *_on_key(args.key), *recipe.notes]
    if args.json:
        print(json.dumps(_as_json(recipe, setting, parts, notes, names)))
        return 0
    print(f"# {recipe.title}: model {setting.model}, {setting.window:,} tokens of context.")
    for part, text in parts:
        print(f"# {part.where}:\n\n{text}")
    print(f"# Models here: {', '.join(names)}.")
    for note in notes:
        print(f"# {note}")
    return 0


def _setting(args: argparse.Namespace, names: list[str]) -> Setting:
    card = _card(args, args.model, names)
    small = args.small_model or args.model
    if small != args.model:
        _card(args, small, names)
    window = card.get("context_length") or card.get("max_model_len")
    if not window:
        raise CommandError(f"the deployment does not say how long the context of {card['id']} is")
    return Setting(args.url.rstrip("/"), args.model, small, window, has_key=bool(args.key))


def _card(args: argparse.Namespace, model: str, names: list[str]) -> dict[str, Any]:
    """Ask for a model, which the list need not show."""
    try:
        card: dict[str, Any] = request_json(args, "GET", f"/v1/models/{quote(model)}")
    except CommandError as error:
        hint = nearest(model, names) if str(error).startswith("404") else ""
        raise CommandError(f"{model}: {error}{hint}") from error
    return card


def _warnings(recipe: Recipe, setting: Setting) -> list[str]:
    if setting.window >= recipe.least_window:
        return []
    told = (
        f"Warning: {recipe.title} fills some {recipe.least_window:,} tokens before it does "
        f"anything, and {setting.model} has room for {setting.window:,}: it will be refused. "
        "Give it a lane with a longer window (--model)."
    )
    return [told]


def _on_key(key: str | None) -> list[str]:
    """Say which key is meant without saying it."""
    if not key:
        return ["No key is needed from here."]
    found = _KEY_ID.match(key)
    which = f" {found[0]}-…" if found else ""
    return [f"POINTSMAN_API_KEY has to hold the key{which} that this was asked with."]


def _as_json(
    recipe: Recipe,
    setting: Setting,
    parts: list[tuple[Part, str]],
    notes: list[str],
    names: list[str],
) -> dict[str, Any]:
    return {
        "client": recipe.name,
        "url": setting.url,
        "model": setting.model,
        "context_length": setting.window,
        "max_output_tokens": setting.output,
        "key_variable": "POINTSMAN_API_KEY" if setting.has_key else None,
        "models": names,
        "parts": [{"where": x.where, "language": x.language, "text": text} for x, text in parts],
        "notes": notes,
    }
