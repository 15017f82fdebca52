"""`pointsman classifier label --feedback`: what users said of answers, as rows to train on.

Only feedback whose prompt is kept, and only of the two lanes. A thumb judges the answer that it
is on: the weak lane's is that lane's outcome, the strong lane's says nothing of the weak one.
A preference between the two lanes is an outcome of both, as a judge's would be.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from serve_app.commands.row_file import Row, UsageError
from serve_app.config.private_files import private
from serve_app.config.settings import state_dir
from serve_app.records.feedback_store import FILE_NAME, labelled_rows


def write_feedback(out: Path, weak: str, strong: str) -> dict[str, int]:
    """Write the state directory's feedback to a new file; rows by kind.

    Raises UsageError where there is no feedback store, or the file is there already.
    """
    store = state_dir() / FILE_NAME
    if not store.exists():
        raise UsageError(f"{store}: no feedback is kept there (POINTSMAN_STATE)")
    counts: Counter[str] = Counter()
    try:
        # It holds prompts.
        with open(out, "x", encoding="utf-8", opener=private) as file:
            rows = outcomes(labelled_rows(store), weak, strong, counts)
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    except FileExistsError:
        raise UsageError(f"{out}: is there already; give --out another file") from None
    return {"rows": counts.total() - counts["skipped"], **counts}


def outcomes(
    rows: Iterable[dict[str, Any]], weak: str, strong: str, counts: Counter[str]
) -> Iterator[Row]:
    """Rows with `weak`, and `strong` where both lanes were compared; counts them by kind."""
    for row in rows:
        judged: dict[str, float] | None = None
        kind = "thumbs"
        if "thumb" in row:
            if row["lane"] == weak:
                judged = {"weak": float(row["thumb"] == "up")}
        else:
            kind = "preferences"
            pair = (row["lane"], row["preferred_over"]["lane"])
            if pair in ((weak, strong), (strong, weak)):
                judged = {"weak": float(pair[0] == weak), "strong": float(pair[0] == strong)}
        counts[kind if judged else "skipped"] += 1
        if judged is not None:
            yield {"source": row["source"], "messages": row["messages"], **judged}
