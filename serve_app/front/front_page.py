"""`GET /`: what this is and where to look, for whoever opens the base URL."""

from __future__ import annotations

import html

import orjson

_LINKS = {
    "/v1/models": "the models that the caller may use",
    "/openapi.json": "every route, described",
    "/ready": "whether every required lane is loaded",
    "/status": "lanes, replicas, limits and warnings (with an admin key), or the caller's part",
    "/console": "the same as a page, for operators",
    "/metrics": "figures of all of it for Prometheus",
}

_WHAT = "Pointsman: several models behind one API, as OpenAI's and Anthropic's clients speak it."
_HOW = (
    "OpenAI clients: base_url = this URL + /v1. Anthropic clients: base_url = this URL. "
    'Model "auto" picks one for each request.'
)

_PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>Pointsman</title>'
    '<meta name="viewport" content="width=device-width">'
    "<style>body{font:16px/1.6 system-ui;max-width:42rem;margin:3rem auto;padding:0 1rem}</style>"
    f"<h1>Pointsman</h1><p>{_WHAT}</p><p>{html.escape(_HOW)}</p><ul>"
    + "".join(f'<li><a href="{path}">{path}</a>: {what}</li>' for path, what in _LINKS.items())
    + "</ul></html>\n"
)
_TEXT = "\n".join([_WHAT, _HOW, "", *(f"{path:14} {what}" for path, what in _LINKS.items()), ""])


def front_page(accept: bytes) -> tuple[bytes, bytes]:
    """Return body and content type: HTML for browsers, JSON if it is asked for, else text."""
    wanted = accept.lower()
    if b"text/html" in wanted:
        return _PAGE.encode(), b"text/html; charset=utf-8"
    if b"application/json" in wanted:
        body = {"name": "Pointsman", "what": _WHAT, "how": _HOW, "routes": _LINKS}
        return orjson.dumps(body), b"application/json"
    return _TEXT.encode(), b"text/plain; charset=utf-8"
