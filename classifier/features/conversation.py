"""What the classifier reads of a request."""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Conversation:
    """The parts of a chat request that may tell how complex it is.

    `user_turns` counts user messages including the last one; `tools` counts
    the tools that the request declares.
    """

    last_user: str
    system: str = ""
    user_turns: int = 1
    tools: int = 0


def parse_row(line: bytes, where: str) -> dict[str, Any]:
    """One JSON line with `text` or `messages`, or ValueError saying where and why."""
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: not a JSON object")  # noqa: TRY004
    if isinstance(row.get("text"), str) or _are_messages(row.get("messages")):
        return row
    raise ValueError(f"{where}: a row needs 'text' (a string) or 'messages' (a list of objects)")


def rows_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of JSON lines, gzip'd or not, each with its `file:line`; see `parse_row`."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                where = f"{path}:{number}"
                yield where, parse_row(line, where)


def conversation_of(row: dict[str, Any]) -> Conversation:
    """The conversation of a row with `messages` (OpenAI's form) or `text`."""
    if not _are_messages(row.get("messages")):
        return Conversation(last_user=row["text"])
    messages = row["messages"]
    users = [_content(m.get("content")) for m in messages if m.get("role") == "user"]
    systems = [
        _content(m.get("content")) for m in messages if m.get("role") in ("system", "developer")
    ]
    return Conversation(
        last_user=users[-1] if users else "",
        system="\n".join(systems),
        user_turns=max(1, len(users)),
        tools=len(row.get("tools") or ()),
    )


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(message, dict) for message in value)


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts: Iterable[Any] = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))
