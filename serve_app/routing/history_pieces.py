"""A conversation's messages as pieces that can be cut: every dialect, read in one way.

Chat messages, Anthropic messages and Responses items differ in how they write tool
calls and results; here each becomes a `router.routing.history.Piece`. Nothing is rebuilt,
and a message of a kind that is not known is the model's: it goes with its turn.
"""

from __future__ import annotations

from typing import Any

from router.routing.history import Kind, Piece, size_tokens
from serve_app.bodies.json_body import dump
from serve_app.bodies.tool_parts import call_ids_of, result_blocks

MEDIA_TOKENS = 1300
"""A picture, sound or file of any size: one megapixel in Qwen2.5-VL's 28 x 28 patches
is 1,337 tokens. Its bytes would say nothing."""

_MEDIA = frozenset(
    {
        "image", "image_url", "input_image", "image_pil", "image_embeds", "audio", "audio_url",
        "audio_embeds", "input_audio", "video", "video_url", "file", "input_file", "document",
    }
)  # fmt: skip

# Not text that the model reads, or marks that clients move from turn to turn
# (`cache_control`): counted, they would move the cut of an unchanged conversation.
# Reasoning is left out by chat templates, and by some clients in later turns.
_UNREAD = frozenset(
    {
        "role", "type", "id", "call_id", "tool_call_id", "tool_use_id", "status", "index",
        "cache_control", "annotations", "logprobs", "signature", "encrypted_content",
        "reasoning", "reasoning_content", "thinking", "redacted_thinking", "uuid", "detail",
    }
)  # fmt: skip

# A tuple: a role may be anything that JSON can say.
_PINNED = ("system", "developer")
_KINDS = {
    "user": Kind.USER,
    "tool": Kind.RESULT,
    "function": Kind.RESULT,
    **dict.fromkeys(_PINNED, Kind.PINNED),
}

# Objects that the model reads as JSON.
_AS_JSON = frozenset({"input", "arguments"})

# Text of every dialect is nearer than this (a tool result's parts: 4 levels). It
# bounds the recursion: bodies may nest as deep as their JSON reader allows.
_DEPTH = 12


def read_sizes(items: list[Any], bytes_per_token: float) -> list[int]:
    """Tokens of each message or item, 0 where it is pinned.

    Apart from `read_pieces`, because most requests end here: under the high mark.
    """
    return [_size(item, bytes_per_token) for item in items]


def read_pieces(items: list[Any], sizes: list[int]) -> list[Piece]:
    return [_piece(item, tokens) for item, tokens in zip(items, sizes, strict=True)]


def _size(item: Any, bytes_per_token: float) -> int:
    if isinstance(item, dict):
        if item.get("role") in _PINNED:
            return 0
        content = item.get("content")
        if isinstance(content, str) and len(item) == 2:
            # Role and text: the common case.
            return size_tokens(_utf8(content), bytes_per_token)
    return size_tokens(_bytes(item, bytes_per_token), bytes_per_token)


def _piece(item: Any, tokens: int) -> Piece:
    if not isinstance(item, dict):
        return Piece(Kind.MODEL, tokens)
    role = item.get("role")
    if len(item) == 2 and isinstance(role, str) and isinstance(item.get("content"), str):
        return Piece(_KINDS.get(role, Kind.MODEL), tokens)
    if role in _PINNED:
        return Piece(Kind.PINNED, tokens)
    answers = _answers(item)
    if answers or role in ("tool", "function"):
        return Piece(Kind.RESULT, tokens, answers=answers)
    return Piece(Kind.USER if role == "user" else Kind.MODEL, tokens, calls=_calls(item))


def _calls(item: dict[str, Any]) -> tuple[str, ...]:
    found = call_ids_of(item)
    if not found and not _is_output(item):
        # Of a kind that is not known: what answers it goes with it.
        found.append(item.get("call_id"))
    return tuple(call for call in found if isinstance(call, str))


def _answers(item: dict[str, Any]) -> tuple[str, ...]:
    found = [item.get("tool_call_id")]
    found += [part.get("tool_use_id") for part in result_blocks(item)]
    if _is_output(item):
        found.append(item.get("call_id"))
    return tuple(call for call in found if isinstance(call, str))


def _is_output(item: dict[str, Any]) -> bool:
    """Return whether it is a Responses item with a result: `function_call_output` and its like."""
    kind = item.get("type")
    return isinstance(kind, str) and kind.endswith("_output")


def _utf8(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _bytes(value: Any, bytes_per_token: float, depth: int = 0) -> int:
    """UTF-8 bytes of the text in a message, media at a flat rate."""
    if isinstance(value, str):
        return _utf8(value)
    if depth > _DEPTH:
        return 0
    if isinstance(value, list):
        return sum(_bytes(inner, bytes_per_token, depth + 1) for inner in value)
    if not isinstance(value, dict):
        return 0
    kind = value.get("type")
    if isinstance(kind, str) and kind in _MEDIA:
        return int(MEDIA_TOKENS * bytes_per_token)
    total = 0
    for name, inner in value.items():
        if name in _AS_JSON and not isinstance(inner, str):
            total += len(dump(inner))
        elif name not in _UNREAD:
            total += _bytes(inner, bytes_per_token, depth + 1)
    return total
