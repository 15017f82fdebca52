"""A run's folder: every answer as soon as it is there, so that a run can go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

from evals.replay.judging import Judged
from evals.replay.said import Said, said_from
from serve_app.commands.row_file import Row, RowFile
from serve_app.config.private_files import private_folder, write_private

ANSWERS = "answers.jsonl"
REPORT = "report.html"
SUMMARY = "summary.json"

Key = tuple[str, str, int]
"""A lane, a case's digest and the longest answer that was asked for."""


class RunFolder:
    """Answers, verdicts of judges and of programs. Mode 0700: prompts and answers are in it."""

    def __init__(self, path: Path) -> None:
        """Open the folder, or raise UsageError while another run holds it."""
        self.path = private_folder(path)
        self._file = RowFile(path / ANSWERS)
        self._said: dict[Key, Said] = {}
        self._judged: dict[tuple[str, ...], Judged] = {}
        self._passes: dict[tuple[str, ...], float] = {}
        with (path / ANSWERS).open(encoding="utf-8", errors="surrogatepass") as lines:
            for line in lines:
                self._take(json.loads(line))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _take(self, row: Row) -> None:
        if "said" in row:
            self._said[row["lane"], row["case"], row["most"]] = said_from(row["said"])
        elif "judge" in row:
            self._judged[tuple(row["judge"])] = Judged(row["as_a"], row["as_b"])
        elif "command" in row:
            self._passes[tuple(row["command"])] = row["passes"]

    def said(self, key: Key) -> Said | None:
        return self._said.get(key)

    def judged(self, key: tuple[str, ...]) -> Judged | None:
        return self._judged.get(key)

    def passed(self, key: tuple[str, ...]) -> float | None:
        return self._passes.get(key)

    def keep_said(self, key: Key, name: str, said: Said) -> None:
        lane, case, most = key
        row = {"lane": lane, "case": case, "most": most, "name": name, "said": said.to_dict()}
        self._keep(row)

    def keep_judged(self, key: tuple[str, ...], judged: Judged) -> None:
        self._keep({"judge": list(key), "as_a": judged.as_a, "as_b": judged.as_b})

    def keep_passed(self, key: tuple[str, ...], passes: float) -> None:
        self._keep({"command": list(key), "passes": passes})

    def _keep(self, row: Row) -> None:
        self._file.append(row)
        self._take(row)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the run, whole."""
        path = self.path / name
        return write_private(path, text).replace(path)

    def write_json(self, name: str, told: Any) -> Path:
        """Write a JSON file of the run."""
        return self.write(name, json.dumps(told, indent=1) + "\n")
