"""What an answer is worth: `exact`, `command` and `judge`.

`exact` compares with the expected answers (`evals.replay.exact`); `command` asks a program
of the operator's; `judge` asks a lane which of two answers is better.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
from dataclasses import dataclass

from evals.replay.exact import is_expected
from evals.replay.judging import JUDGE_MAX_TOKENS, judge_messages, verdict
from serve_app.commands.label.client import Deployment, SampleFailed
from serve_app.commands.label.rows import Prompt
from serve_app.commands.row_file import UsageError

COMMAND_TIMEOUT_S = 60.0


def exact(prompt: Prompt, answer: str) -> float:
    """1 when the answer is one of the expected ones, else 0."""
    return float(is_expected(answer, prompt.expected))


class Command:
    """A program that passes or fails an answer.

    It reads a JSON object on stdin: `prompt` (the line of the file, whole), `answer`
    (the text) and `lane`. Exit status 0 is a pass, 1 a fail, any other an error. Its
    stdout is dropped, its stderr goes to the terminal.
    """

    def __init__(self, line: str, *, concurrency: int, secret: str) -> None:
        """`line` is split as a shell would, without one; `secret` names what it may not see."""
        try:
            self._words = shlex.split(line)
        except ValueError as error:
            raise UsageError(f"--command: {error}") from error
        if not self._words or not shutil.which(self._words[0]):
            raise UsageError(f"--command: there is no program '{line}'")
        # More programs than cores would time out for want of each other's.
        self._free = asyncio.Semaphore(min(concurrency, os.cpu_count() or 1))
        self._env = {name: value for name, value in os.environ.items() if name != secret}

    async def passes(self, prompt: Prompt, answer: str, lane: str) -> float:
        """1 for a pass, 0 for a fail; SampleFailed otherwise."""
        given = json.dumps({"prompt": prompt.row, "answer": answer, "lane": lane}).encode()
        async with self._free:
            status = await self._run(given)
        if status not in (0, 1):
            raise SampleFailed(f"command: exit status {status}")
        return float(status == 0)

    async def _run(self, given: bytes) -> int:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                env=self._env,
                start_new_session=True,
            )
        except OSError as error:
            raise SampleFailed(f"command: {error.strerror}") from error
        try:
            await asyncio.wait_for(process.communicate(given), COMMAND_TIMEOUT_S)
        except TimeoutError as error:
            raise SampleFailed(f"command: no end within {COMMAND_TIMEOUT_S:g} s") from error
        finally:
            # After the time limit and on Ctrl-C, whatever it started goes too.
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            status = await process.wait()
        return status


@dataclass(frozen=True)
class Judge:
    """A lane that compares answers."""

    deployment: Deployment
    lane: str

    async def preference(
        self, prompt: Prompt, weak: str, strong: str, *, number: int
    ) -> tuple[float, str]:
        """How far the stronger lane's answer is preferred, and the id of the judging model.

        1 for the stronger lane's answer, 0 for the other, 0.5 for neither. The stronger
        lane's answer is A and B in turn, by `number`; the turn begins at random by prompt,
        so that single comparisons lean to no side either.
        """
        strong_is_a = (number + int(prompt.digest[:2], 16)) % 2 == 0
        pair = (strong, weak) if strong_is_a else (weak, strong)
        answer = await self.deployment.ask(
            self.lane,
            judge_messages(_request(prompt), *pair),
            seed=number,
            temperature=0.0,
            max_tokens=JUDGE_MAX_TOKENS,
            session=f"judge-{prompt.digest[:32]}",
        )
        found = verdict(answer.text)
        if found is None:
            raise SampleFailed(f"judge '{self.lane}': no verdict in the last line")
        if found == "TIE":
            return 0.5, answer.model
        return float((found == "A") == strong_is_a), answer.model


def _request(prompt: Prompt) -> str:
    if prompt.row.get("messages") is not None:
        return json.dumps(prompt.messages, ensure_ascii=False)
    return str(prompt.row["text"])
