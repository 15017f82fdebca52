"""HTML from texts that others wrote: nothing gets into a page but by `text` or `element`."""

from __future__ import annotations

import html
import unicodedata

_SHOWN = {0x0A: "\n", 0x09: "\t"}


class Markup(str):
    """HTML that is safe to put into a page; only this module makes it from other texts."""

    __slots__ = ()


def text(given: object) -> Markup:
    """Escape a text; characters that change the direction or cannot be seen become visible.

    A trace could turn the page's own words around with them.
    """
    return Markup(html.escape("".join(map(_visible, str(given))), quote=True))


def _visible(sign: str) -> str:
    if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return sign
    return f"\u27e8{ord(sign):04X}\u27e9"


def element(tag: str, *parts: object, **attributes: object) -> Markup:
    """Return an element. Parts that are no `Markup` are escaped; `class_` stands for `class`."""
    names = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(value)}"'
        for name, value in attributes.items()
    )
    return Markup(f"<{tag}{names}>{joined(*parts)}</{tag}>")


def joined(*parts: object) -> Markup:
    """Join parts; what is no `Markup` is escaped."""
    return Markup("".join(x if isinstance(x, Markup) else text(x) for x in parts))


def table(head: list[object], rows: list[list[object]], kind: str = "") -> Markup:
    """Return a table; the first column is its rows' names."""
    top = element("tr", *(element("th", x, scope="col") for x in head))
    body = [
        element("tr", element("th", row[0], scope="row"), *(element("td", x) for x in row[1:]))
        for row in rows
    ]
    whole = element("table", element("thead", top), element("tbody", *body), class_=kind)
    return element("div", whole, class_="wide")
