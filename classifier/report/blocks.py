"""The parts that sections are made of: tables, figures, sentences; all escaped."""

from collections.abc import Sequence
from html import escape

NOTHING = "-"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 0 to 1 as text; a dash for None."""
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def percent_range(interval: Sequence[float] | None, digits: int = 1) -> str:
    """An interval of shares as text; a dash for None."""
    if interval is None:
        return NOTHING
    low, high = (100 * share for share in interval)
    return f"{low:.{digits}f} to {high:.{digits}f} %"


def number(value: float | None, digits: int = 3) -> str:
    """A number as text; a dash for None."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def section(name: str, title: str, *parts: str) -> str:
    """A section of the page; `name` is its anchor, and no text from data."""
    return f'<section id="{name}"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def missing(name: str, title: str, why: str) -> str:
    """A section that has nothing to show, and what it would take."""
    return section(name, title, f'<p class="missing">{escape(why)}</p>')


def heading(text: str) -> str:
    return f"<h3>{escape(text)}</h3>"


def sentence(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def figure(svg: str, *sentences: str) -> str:
    """A chart from `svg`, and under it what to see and how to read it."""
    text = escape(" ".join(sentences))
    return f'<figure><div class="wide">{svg}</div><figcaption>{text}</figcaption></figure>'


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table whose first `texts` columns are words and the others numbers."""
    if not rows:
        return ""
    head = "".join(
        f'<th scope="col"{_css(n, texts)}>{escape(h)}</th>' for n, h in enumerate(headers)
    )
    body = "".join(f"<tr>{_cells(row, texts)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cells(row: Sequence[str], texts: int) -> str:
    # bdi: a name written right to left must not turn the cells beside it.
    return "".join(
        f"<td{_css(n, texts)}><bdi>{escape(text)}</bdi></td>" for n, text in enumerate(row)
    )


def _css(column: int, texts: int) -> str:
    return "" if column < texts else ' class="number"'


def tiles(facts: Sequence[tuple[str, str]]) -> str:
    """Short facts side by side: what, and its value."""
    parts = (f"<div><dt>{escape(what)}</dt><dd>{escape(value)}</dd></div>" for what, value in facts)
    return f'<dl class="tiles">{"".join(parts)}</dl>'


def bullets(texts: Sequence[str]) -> str:
    return f'<ul class="warnings">{"".join(f"<li>{escape(text)}</li>" for text in texts)}</ul>'
