"""The table of `docs/advice.md`, from the table in code.

python -m serve_app.advice.page      # writes it anew
"""

from __future__ import annotations

from pathlib import Path

from router.advice.table import TRIGGERS
from router.advice.trigger import Change, Trigger

PAGE = Path(__file__).resolve().parents[2] / "docs" / "advice.md"
BEGIN, END = "<!-- triggers: from the table in code -->", "<!-- end of triggers -->"
COLUMNS = ("trigger", "fires when", "clears at", "of", "remedy", "price", "simulated", "says so")


def table() -> str:
    """Return the Markdown of all rows."""
    lines = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join(_cells(trigger)) for trigger in TRIGGERS]
    return "\n".join(f"| {line} |" for line in lines)


def with_table(page: str) -> str:
    """Return a page with the table between its marks as it is now."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def _cells(trigger: Trigger) -> tuple[str, ...]:
    return (
        f"`{trigger.name}` ({trigger.severity})",
        trigger.says,
        f"{trigger.clear:g} {trigger.unit}",
        trigger.scope.value,
        trigger.remedy.replace("{{", "{").replace("}}", "}"),
        trigger.price.value,
        trigger.change.value if trigger.change is not Change.NONE else "no",
        trigger.source,
    )


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
