"""One run of `pointsman classifier label`: sample both lanes, check, append."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from classifier.progress import progress
from evals.cascade.signals import agreement
from serve_app.commands.label.checks import Command, Judge, exact
from serve_app.commands.label.client import (
    Answer,
    Deployment,
    SampleFailed,
    http_session,
)
from serve_app.commands.label.report import Tally
from serve_app.commands.label.rows import KEPT, Outcomes, Prompt
from serve_app.commands.row_file import Row, UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class LabelConfig:
    """What one run does; its options are those of the command.

    `weak`, `strong` and `judge` are names of lanes or models; `key` may be empty. `signals`:
    rows hold what the weak lane knew of its answers.
    """

    weak: str
    strong: str
    samples: int
    max_tokens: int
    temperature: float
    source: str
    url: str
    key: str = field(repr=False)
    concurrency: int
    command: Command | None = None
    judge: str | None = None
    signals: bool = False


async def run(config: LabelConfig, prompts: Sequence[Prompt], out: Path, tally: Tally) -> None:
    """Label what `out` does not hold yet; rows and counts appear as they are made."""
    async with http_session(config.key) as http:
        deployment = Deployment(http, config.url, concurrency=config.concurrency)
        labeller = await Labeller.found(config, deployment)
        with Outcomes(out, labeller.made_with) as outcomes:
            todo = [prompt for prompt in prompts if not outcomes.has(prompt)]
            tally.begin(len(prompts), len(todo))
            share = iter(todo)
            with progress(len(todo), "labelling") as bar:

                async def work() -> None:
                    for prompt in share:
                        await _label(labeller, prompt, outcomes, tally)
                        bar.update(1)

                await together(work() for _ in range(config.concurrency))


async def _label(labeller: Labeller, prompt: Prompt, outcomes: Outcomes, tally: Tally) -> None:
    try:
        row, cut = await labeller.row_of(prompt)
    except SampleFailed as error:
        tally.fail(prompt.name, str(error))
    else:
        outcomes.append(row)
        tally.add(row, cut)


class Labeller:
    """Samples both lanes on a prompt and checks what they say."""

    def __init__(
        self,
        config: LabelConfig,
        deployment: Deployment,
        lanes: tuple[str, str],
        judge: Judge | None,
    ) -> None:
        self._config = config
        self._deployment = deployment
        self._weak, self._strong = lanes
        self._judge = judge

    @classmethod
    async def found(cls, config: LabelConfig, deployment: Deployment) -> Labeller:
        """A labeller whose lanes the deployment has."""
        judges = [config.judge] if config.judge else []
        weak, strong, *judges = await deployment.lanes_of([config.weak, config.strong, *judges])
        if weak == strong:
            raise UsageError(f"--lanes: both names stand for the lane '{weak}'")
        judge = Judge(deployment, judges[0]) if judges else None
        return cls(config, deployment, (weak, strong), judge)

    @property
    def made_with(self) -> Row:
        """What rows of one file have in common."""
        return {
            "weak_lane": self._weak,
            "strong_lane": self._strong,
            "samples": self._config.samples,
        }

    async def row_of(self, prompt: Prompt) -> tuple[Row, int]:
        """The row of outcomes, and how many answers `max_tokens` cut."""
        lanes = (self._weak, self._strong)
        weak, strong = await together(self._answers(prompt, lane) for lane in lanes)
        row = {
            **{name: prompt.row[name] for name in KEPT if name in prompt.row},
            "source": self._config.source,
            **await self._outcomes(prompt, weak, strong),
            "weak_model": weak[0].model,
            "strong_model": strong[0].model,
            **self.made_with,
            "check": prompt.check,
            **(_signals(weak) if self._config.signals else {}),
        }
        return row, sum(answer.is_cut for answer in [*weak, *strong])

    async def _answers(self, prompt: Prompt, lane: str) -> list[Answer]:
        samples = self._config.samples
        return await together(
            self._deployment.ask(
                lane,
                prompt.messages,
                seed=number,
                temperature=self._config.temperature if samples > 1 else 0.0,
                max_tokens=self._config.max_tokens,
                session=f"label-{prompt.digest[:32]}",
                with_signals=self._config.signals and lane == self._weak,
            )
            for number in range(1, samples + 1)
        )

    async def _outcomes(
        self, prompt: Prompt, weak: Sequence[Answer], strong: Sequence[Answer]
    ) -> Row:
        if prompt.check == "judge":
            return await self._judged(prompt, weak, strong)
        return {
            "weak": await self._passed(prompt, weak, self._weak),
            "strong": await self._passed(prompt, strong, self._strong),
        }

    async def _passed(self, prompt: Prompt, answers: Sequence[Answer], lane: str) -> float:
        if prompt.check == "exact":
            return _mean([exact(prompt, answer.text) for answer in answers])
        if self._config.command is None:
            raise UsageError("--check command needs --command CMD")
        passes = self._config.command.passes
        return _mean(await together(passes(prompt, answer.text, lane) for answer in answers))

    async def _judged(
        self, prompt: Prompt, weak: Sequence[Answer], strong: Sequence[Answer]
    ) -> Row:
        if self._judge is None:
            raise UsageError("--check judge needs --judge LANE")
        compare = self._judge.preference
        found = await together(
            compare(prompt, one.text, other.text, number=number)
            for number, (one, other) in enumerate(zip(weak, strong, strict=True))
        )
        preferred = _mean([preference for preference, _ in found])
        return {"weak": round(1 - preferred, 6), "strong": preferred, "judge_model": found[0][1]}


def _signals(weak: Sequence[Answer]) -> Row:
    """What the weak lane knew of its first answer, and whether its first two agree."""
    first, *others = weak
    agreed = {"agreement": round(agreement(first.text, others[0].text), 4)} if others else {}
    return {"signals": {**(first.signals or {}), **agreed}}


async def together(parts: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results in order; at the first fault the others are given up."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
    except BaseExceptionGroup as faults:
        raise faults.exceptions[0] from None
    return [task.result() for task in tasks]


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 6)
