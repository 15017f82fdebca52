"""Media that a request names: what an engine would fetch for a client is decided here.

The engine's host stands inside the operator's network, so a URL is a way for a tenant to
ask questions there. Media come with the request, as `data:` URLs; other URLs only from
hosts that the lane names. What is neither is refused: there is no list of what is bad.

Looked at are the parts of messages, where the pinned vLLM (0.29) reads URLs: in chat
(`entrypoints/chat_utils.py`) with and without a `type`, in the outputs of tools, in the
blocks of `/v1/messages` and inside their tool results. Data URLs are megabytes: only
their first bytes are read. Arguments of tools are the client's own, and never fetched.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from router.errors import Rejected, RejectReason
from serve_app.bodies.steps import Steps

HERE = "send it within the request, as a 'data:' URL"

_URLS = frozenset({"image_url", "audio_url", "video_url", "file_url"})
"""Members of a part that hold a URL, or an object with one."""

_MEDIA = _URLS | {"image_pil", "image_embeds", "audio_embeds", "video_embeds", "input_audio"}

_WITHIN = ("content", "output", "source")
"""Members of a part that hold further parts; a source is one with a `url`."""

_LOOKED_AT = _MEDIA.union(_WITHIN)

_MAKERS = ("mm_processor_kwargs", "media_io_kwargs")
"""Fields whose members become arguments of the programs that load a model's processor."""

_LOADING = frozenset(
    {
        "cache_dir",
        "code_revision",
        "force_download",
        "local_files_only",
        "proxies",
        "resume_download",
        "revision",
        "subfolder",
        "token",
        "trust_remote_code",
        "use_auth_token",
    }
)
_NAME = re.compile(r"[A-Za-z0-9_.-]{0,64}")

# No user, no escapes, no backslash, nothing that two readers could read as two hosts.
_REMOTE = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]+)(?P<port>:[0-9]{1,5})?(?:[/?#][!-\[\]-~]*)?",
    re.IGNORECASE,
)
_OWN_PORTS = {"http": ":80", "https": ":443"}

MAX_URL_CHARS = 8_192

SLICE = 500
"""Parts that are looked at in one piece: a millisecond or two."""

_Place = tuple[Any, str]
"""The place around it, and the step from there."""
_Found = tuple[_Place, Any]


def looking_for_media(body: dict[str, Any], hosts: Collection[str]) -> Steps[Rejected | None]:
    """Refuse a body from which an engine would fetch what it should not, in pieces.

    `hosts`: `host` or `host:port`, in lower case, that the lane may fetch from.
    """
    for field in ("messages", "input"):
        items = body.get(field)
        wrong = (yield from _part_fault(field, items, hosts)) if isinstance(items, list) else None
        if wrong is not None:
            return Rejected(RejectReason.INVALID_REQUEST, wrong, param=field)
    return _maker_fault(body)


def _part_fault(field: str, items: list[Any], hosts: Collection[str]) -> Steps[str | None]:
    """Say what is wrong and where. Goes level by level: a deep body would overflow the stack."""
    level: list[_Found] = [((None, field), items)]
    while level:
        inner: list[_Found] = []
        for number, (place, part) in enumerate(level, 1):
            if number % SLICE == 0:
                yield
            if isinstance(part, list):
                inner += (((place, f"[{i}]"), x) for i, x in enumerate(part) if _leads_on(x))
                continue
            if not part.keys().isdisjoint(_MEDIA) or place[1] == ".source":
                wrong = _member_fault(part, hosts)
                if wrong is not None:
                    return f"'{_spelled(place)}.{wrong}."
            for name in _WITHIN:
                within = part.get(name)
                if isinstance(within, (dict, list)):
                    inner.append(((place, f".{name}"), within))
        level = inner
        yield
    return None


def _leads_on(part: Any) -> bool:
    """Return whether there may be media in a part. Nearly all parts are plain text."""
    if not isinstance(part, dict):
        return isinstance(part, list)
    if part.keys().isdisjoint(_LOOKED_AT):
        return False
    for name in _WITHIN:
        if isinstance(part.get(name), (dict, list)):
            return True
    return not part.keys().isdisjoint(_MEDIA)


def _member_fault(part: dict[str, Any], hosts: Collection[str]) -> str | None:
    """Return the name of a member, a closing quotation mark, and what is wrong with it."""
    if part.get("image_pil") is not None:
        # An object of Python's, which no request has: a text there is opened as path or URL.
        return f"image_pil' is not taken: {HERE}"
    if part.get("uuid") is not None:
        # The engine keeps media by this name, for any later request that gives it.
        return "uuid' is not taken: media are known by their content here"
    for name in ("url", *sorted(_URLS)):
        wrong = _wrong(part.get(name), hosts)
        if wrong is not None:
            return f"{name}' {wrong}"
    return None


def _spelled(place: _Place | None) -> str:
    steps: list[str] = []
    while place is not None:
        place, step = place
        steps.append(step)
    return "".join(reversed(steps))


def _wrong(value: Any, hosts: Collection[str]) -> str | None:
    if isinstance(value, dict):
        value = value.get("url")
    if value is None:
        return None
    if not isinstance(value, str):
        return "must be a URL"
    if value[:5].lower() == "data:":
        return None
    if not hosts:
        return f"is not fetched: {HERE}"
    return None if _is_listed(value, hosts) else f"is of no host that media come from: {HERE}"


def _is_listed(url: str, hosts: Collection[str]) -> bool:
    found = _REMOTE.fullmatch(url) if len(url) <= MAX_URL_CHARS else None
    if found is None:
        return False
    host, port = found["host"].lower(), found["port"] or ""
    own = _OWN_PORTS[found["scheme"].lower()]
    return host + ("" if port == own else port) in hosts


def _maker_fault(body: dict[str, Any]) -> Rejected | None:
    for field in _MAKERS:
        if body.get(field) is not None and not _are_plain(body[field]):
            message = f"'{field}' must be made of numbers, flags and names of settings."
            return Rejected(RejectReason.INVALID_REQUEST, message, param=field)
    return None


def _are_plain(value: Any) -> bool:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and not _NAME.fullmatch(one):
            return False
        if isinstance(one, dict):
            if not all(_NAME.fullmatch(name) and name not in _LOADING for name in one):
                return False
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return True
