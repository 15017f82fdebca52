"""Files of `pointsman classifier label`: prompts in, one row of outcomes a prompt out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier.features.conversation import rows_of
from serve_app.commands.row_file import Row, RowFile, UsageError

KEPT = ("id", "text", "messages", "domain")
"""Members of a prompt's row that its row of outcomes repeats."""

UNCHECKED = "no 'answer' to compare with, and no other check is given"


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        row: its line of the file, whole.
        name: its id, or its file and line; for messages to people.
        check: `exact`, `command` or `judge`.

    """

    row: Row
    name: str
    check: str

    @property
    def messages(self) -> list[Row]:
        """The conversation in OpenAI's form."""
        found: list[Row] | None = self.row.get("messages")
        return [{"role": "user", "content": self.row["text"]}] if found is None else found

    @property
    def expected(self) -> list[str]:
        found = self.row.get("answers", [])
        return [str(one) for one in ([self.row["answer"]] if "answer" in self.row else found)]

    @property
    def digest(self) -> str:
        """SHA-256 of the text or the messages, in hexadecimal."""
        return _digest(self.row)

    @property
    def key(self) -> str:
        """What tells prompts apart: the id, or where there is none the digest."""
        return _keys(self.row)[0]


def read_prompts(path: Path, check_of: Callable[[Row], str | None]) -> list[Prompt]:
    """The prompts of JSON lines, gzip'd or not; a text without an id counts once.

    `check_of` says how a row is checked, None when it cannot be. Raises UsageError with
    file and line.
    """
    prompts: dict[str, Prompt] = {}
    for where, row in _rows(path):
        fault = next(_faults(row), None)
        check = check_of(row)
        if fault or check is None:
            raise UsageError(f"{where}: {fault or UNCHECKED}")
        prompt = Prompt(row, str(row.get("id", where)), check)
        if prompts.setdefault(prompt.key, prompt).digest != prompt.digest:
            raise UsageError(f"{where}: the id '{prompt.name}' stands for another prompt already")
    return list(prompts.values())


class Outcomes(RowFile):
    """The file of outcomes: held by one run, appended to by whole rows."""

    def __init__(self, path: Path, made_with: Row) -> None:
        """Open the file; `made_with` has to agree with the rows that are in it."""
        super().__init__(path)
        self._done: set[str] = set()
        try:
            for where, row in _rows(path):
                self._take(row, where, made_with)
        except BaseException:
            self.close()
            raise

    def has(self, prompt: Prompt) -> bool:
        """Whether the prompt was labelled by an earlier run."""
        return prompt.key in self._done

    def _take(self, row: Row, where: str, made_with: Row) -> None:
        for name, value in made_with.items():
            if row.get(name) != value:
                raise UsageError(
                    f"{where}: '{name}' is {row.get(name)!r} there and {value!r} in this run; "
                    "rows of both do not belong in one file"
                )
        self._done.update(_keys(row))


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Rows of a file with their `file:line`; UsageError where one cannot be read."""
    try:
        yield from rows_of(path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except (OSError, EOFError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error


def _faults(row: Row) -> Iterator[str]:
    """What is wrong with a row, in words."""
    if row.get("messages") is not None:
        yield from _faults_of_messages(row["messages"])
    elif not (isinstance(row["text"], str) and row["text"].strip()):
        yield "'text' should be a text that is not empty"
    if row.get("tools"):
        yield "has 'tools': answers that are tool calls cannot be compared"
    if not isinstance(row.get("id", ""), str | int):
        yield "'id' should be a text or a whole number"
    if not isinstance(row.get("domain") or "", str):
        yield "'domain' should be a text"
    if "answer" in row and "answers" in row:
        yield "give 'answer' or 'answers', not both"
    elif "answer" in row or "answers" in row:
        yield from _faults_of_answers(row.get("answers", [row.get("answer")]))


def _faults_of_messages(messages: Any) -> Iterator[str]:
    if not isinstance(messages, list) or not all(
        isinstance(one, dict) and isinstance(one.get("role"), str) for one in messages
    ):
        yield "'messages' should be a list of objects with a 'role'"
    elif not any(one["role"] == "user" for one in messages):
        yield "'messages' has no turn of the user"


def _faults_of_answers(answers: Any) -> Iterator[str]:
    if not isinstance(answers, list) or not answers:
        yield "'answers' should be a list that is not empty"
        return
    for one in answers:
        is_right = isinstance(one, str | int | float) and not isinstance(one, bool)
        if not is_right or not str(one).strip():
            yield "an answer should be a number or a text that is not empty"


def _keys(row: Row) -> list[str]:
    """By what a prompt is found again, the surest first."""
    by_text = f"sha256:{_digest(row)}"
    return [f"id:{row['id']}", by_text] if "id" in row else [by_text]


def _digest(row: Row) -> str:
    messages = row.get("messages")
    said = row["text"] if messages is None else json.dumps(messages, sort_keys=True)
    return hashlib.sha256(str(said).encode()).hexdigest()
