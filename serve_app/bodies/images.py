"""Whether a conversation has images, wherever its API puts them."""

from __future__ import annotations

from typing import Any

_TYPES = frozenset({"image_url", "image", "input_image", "image_embeds", "video_url"})
_MEMBERS = frozenset({"image_url", "image_embeds", "video_url"})
"""Of chat parts that give no type; vLLM reads them all the same."""


def has_images(items: list[Any]) -> bool:
    """Return whether some part is an image or a video, of tools' results too.

    Args:
        items: messages, or input items of `/v1/responses`.

    """
    for item in items:
        if type(item) is not dict:
            continue
        for name in ("content", "output"):
            parts = item.get(name)
            if type(parts) is list and any(map(_shows, parts)):
                return True
    return False


def _shows(part: Any) -> bool:
    if type(part) is not dict:
        return False
    kind = part.get("type")
    if kind == "text":
        return False
    if kind == "tool_result":
        inner = part.get("content")
        return type(inner) is list and any(map(_shows, inner))
    is_one = type(kind) is str and kind in _TYPES
    return is_one or (kind is None and not part.keys().isdisjoint(_MEMBERS))
