"""One run: ask, score, sum up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from classifier.progress import progress
from evals.replay.cases import Case
from evals.replay.said import Said
from evals.replay.scoring import PERFECT, Checks, Scored, score
from serve_app.commands.client import CommandError
from serve_app.commands.label.checks import Command
from serve_app.commands.label.client import Deployment, http_session
from serve_app.commands.label.run import together
from serve_app.commands.replay.asking import Asker
from serve_app.commands.replay.folder import RunFolder
from serve_app.commands.replay.spare import Look, SpareRoom

PATIENCE_S = 3600.0
"""Refusals of one request are waited for so long, all in all: nobody sits at a keyboard."""


@dataclass(frozen=True)
class RunConfig:
    """What a run does.

    Attributes:
        candidate: lane or model; `incumbent`: the same, None: what cases know of theirs.
        judge: lane that compares final answers that nothing else checks; None: none does.
        minutes: after which no further case is begun; None: until all are done.

    """

    url: str
    candidate: str
    incumbent: str | None
    concurrency: int
    most_tokens: int
    key: str = field(repr=False, default="")
    judge: str | None = None
    command: Command | None = None
    minutes: float | None = None


@dataclass
class Outcome:
    """What a run found; `unanswered`: cases that are left for another time."""

    candidate: str
    incumbent: str
    scored: list[Scored]
    unanswered: int
    failures: Mapping[str, str]


async def replay(
    config: RunConfig, cases: Sequence[Case], folder: RunFolder, look: Look, told: Any
) -> Outcome:
    """Answer and score the cases; what the folder holds is not asked again."""
    async with http_session(config.key) as http:
        deployment = Deployment(
            http, config.url, concurrency=2 * config.concurrency, patience_s=PATIENCE_S
        )
        names = [x for x in (config.candidate, config.incumbent, config.judge) if x is not None]
        lanes = dict(zip(names, await deployment.lanes_of(names), strict=True))
        candidate = lanes[config.candidate]
        incumbent = None if config.incumbent is None else lanes[config.incumbent]
        if candidate == incumbent:
            raise CommandError(f"--compare: both names stand for the lane '{candidate}'")
        room = SpareRoom(look, config.concurrency, clock=time.monotonic, told=told)
        asker = Asker(deployment, room, folder, config.most_tokens)
        judge = None if config.judge is None else lanes[config.judge]
        work = _Work(config, asker, candidate, incumbent, judge)
        scored = await work.all(cases)
    return Outcome(
        candidate,
        incumbent or _recorded(cases),
        scored,
        len(cases) - len(scored),
        asker.failures,
    )


def _recorded(cases: Sequence[Case]) -> str:
    """Name whose answers the traces hold."""
    lanes = sorted({case.lane for case in cases if case.lane is not None})
    if not lanes:
        return PERFECT
    return f"{lanes[0]} (traces)" if len(lanes) == 1 else "traces"


@dataclass
class _Work:
    config: RunConfig
    asker: Asker
    candidate: str
    incumbent: str | None
    judge: str | None

    async def all(self, cases: Sequence[Case]) -> list[Scored]:
        """Return what could be scored, in the cases' order."""
        found: dict[str, Scored] = {}
        left = iter(cases)
        minutes = self.config.minutes
        end = None if minutes is None else time.monotonic() + 60 * minutes
        with progress(len(cases), "replaying") as bar:

            async def work() -> None:
                for case in left:
                    if end is not None and time.monotonic() >= end:
                        return
                    scored = await self._one(case)
                    if scored is not None:
                        found[case.digest] = scored
                    bar.update(1)

            await together(work() for _ in range(self.config.concurrency))
        return [found[case.digest] for case in cases if case.digest in found]

    async def _one(self, case: Case) -> Scored | None:
        ours, theirs = await asyncio.gather(
            self.asker.said(case, self.candidate), self._incumbent(case)
        )
        if ours is None or (theirs is None and self.incumbent is not None):
            return None
        checks = Checks({}, {}, ties=self.judge is not None)
        command = self.config.command
        if command is not None and not case.answers:
            passes = await self._passes(command, case, ours, theirs)
            if passes is None:
                return None
            checks.passes[case.digest] = passes
        elif self.judge is not None and theirs is not None and _is_judged(case, ours, theirs):
            judged = await self.asker.judged(case, ours, theirs, self.judge)
            if judged is not None:
                checks.judged[case.digest] = judged
        return score(case, ours, theirs, checks)

    async def _passes(
        self, command: Command, case: Case, ours: Said, theirs: Said | None
    ) -> tuple[float, float | None] | None:
        """Return what a program says of both; None: it broke."""
        passes = await self.asker.passes(command, case, ours, self.candidate)
        if passes is None or theirs is None:
            return None if passes is None else (passes, None)
        others = await self.asker.passes(command, case, theirs, self.incumbent or case.lane or "")
        return None if others is None else (passes, others)

    async def _incumbent(self, case: Case) -> Said | None:
        return case.said if self.incumbent is None else await self.asker.said(case, self.incumbent)


def _is_judged(case: Case, ours: Said, theirs: Said) -> bool:
    """Whether a judge compares: texts that differ, and that nothing else checks."""
    has_calls = bool(ours.calls or theirs.calls)
    return not case.answers and not has_calls and ours.text.strip() != theirs.text.strip()
