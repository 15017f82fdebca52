"""Whether off-policy intervals cover the truth as often as they say, and how wide they are.

    ROUTING_DATA=DIR make bench-off_policy     # some minutes of one core; nothing is timed

Two worlds. *Simulated*: uniform scores, rewards by known chances. *Held out*: questions that both
models of a pair have answered (ROUTING_DATA names a directory with outcomes.jsonl.gz, as for
bench-routing); the shipped classifier scores them, the log has one outcome of each, and the other
is held out of the estimate and says what is true. Without the data only the first is run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.support import report
from classifier import DEFAULT_ARTIFACT, load_artifact
from classifier.training.dataset import read_rows, scores_of
from evals.off_policy.estimators import Method, bernstein, gain, weights
from evals.off_policy.logged import Floats, Logged
from evals.off_policy.outcome import cross_fitted
from evals.off_policy.policies import at_share

LEVEL = 0.9
LOGS = 200
SHARE, WIDTH = 0.1, 0.1
SETTINGS = ((4_000, 0.1), (20_000, 0.05))
"""Requests with a reward, and epsilon."""

TARGETS = {"share 5 %": 0.05, "share 12 %": 0.12, "share 18 %": 0.18}
METHODS = (Method.IPS, Method.SNIPS, Method.DR)


@dataclass(frozen=True)
class World:
    """Requests that logs are drawn from: scores, and expected rewards on either lane."""

    name: str
    score: Floats
    weak: Floats
    strong: Floats

    def drawn(
        self, count: int, epsilon: float, rng: np.random.Generator
    ) -> tuple[Logged, npt.NDArray[np.int64]]:
        """Draw a log, and return it with the places of its requests."""
        at = rng.integers(0, len(self.score), count)
        usual = self.usual[at]
        flips = self.band[at] & (rng.random(count) < epsilon)
        chance = np.where(self.band[at], np.where(flips, epsilon, 1 - epsilon), 1.0)
        expected = np.where(usual ^ flips, self.strong[at], self.weak[at])
        log = Logged(
            score=self.score[at],
            went_up=usual ^ flips,
            propensity=chance,
            reward=(rng.random(count) < expected).astype(float),
            cluster=np.arange(count),
            tenant=np.zeros(count, int),
            other_scores=np.empty((count, 0)),
        )
        return log, at

    @property
    def usual(self) -> Any:
        return at_share(self.score, SHARE) > 0

    @property
    def band(self) -> Any:
        return at_share(self.score, SHARE + WIDTH) > 0

    def truth(self, target: Floats, epsilon: float) -> float:
        """Return the gain over the policy that logs, in the whole world."""
        up = np.where(self.usual, np.where(self.band, 1 - epsilon, 1), self.band * epsilon)
        return float(((target - up) * (self.strong - self.weak)).mean())


def worlds() -> Iterator[World]:
    score = (np.arange(20_000) + 0.5) / 20_000
    yield World("simulated, lift grows", score, np.full_like(score, 0.5), 0.5 + 0.3 * score)
    yield World("simulated, few fail", score, np.full_like(score, 0.93), 0.93 + 0.05 * score)
    folder = os.environ.get("ROUTING_DATA")
    if folder:
        yield held_out(Path(folder) / "outcomes.jsonl.gz")


def held_out(path: Path) -> World:
    """Return the questions that both models have answered, scored by the shipped classifier."""
    data = read_rows([path])
    both = ~np.isnan(data.weak) & ~np.isnan(data.strong)
    scores = scores_of(load_artifact(DEFAULT_ARTIFACT).scorer(), data)
    # Scores that are alike are told apart, so that a share is one.
    scores = scores + np.random.default_rng(0).random(len(scores)) * 1e-9
    return World("held-out outcomes", scores[both], data.weak[both], data.strong[both])


def main() -> None:
    rows = [row for world in worlds() for row in measured(world)]
    notes = (
        f"{LOGS} logs each; {LEVEL:.0%} intervals of the gain in reward a request over the policy "
        f"that logged: the top {SHARE:.0%} of the scores goes up, and the next {WIDTH:.0%} on "
        "either side of it the other way with probability epsilon. `covered`: share "
        "of the logs whose interval has the truth (its own noise: 2 points). `effective`: "
        "explored requests that the estimate rests on. `another classifier`: a noisy copy of the "
        "one that logged, at the same share. Command: `ROUTING_DATA=DIR make bench-off_policy`."
    )
    report.write("off_policy", rows, title="Off-policy estimates", notes=notes)
    _plot(rows)


def measured(world: World) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng(1)
    other = world.score + rng.normal(0, 0.02 * float(np.ptp(world.score)), len(world.score))
    targets = {name: at_share(world.score, share) for name, share in TARGETS.items()}
    # Where its own top lies outside of the band nothing is known of it.
    targets["another classifier"] = at_share(np.where(world.band, other, -1.0), SHARE)
    for count, epsilon in SETTINGS:
        logs = [world.drawn(count, epsilon, rng) for _ in range(LOGS)]
        models = [cross_fitted(log) for log, _ in logs]
        for name, target in targets.items():
            truth = world.truth(target, epsilon)
            for method in METHODS:
                found = [
                    gain(log, target[at], method, LEVEL, model)
                    for (log, at), model in zip(logs, models, strict=True)
                ]
                yield {
                    "world": world.name,
                    "requests": count,
                    "epsilon": epsilon,
                    "policy": name,
                    "method": method.value,
                    "truth": round(truth, 5),
                    "mean estimate": round(float(np.mean([x.value for x in found])), 5),
                    "covered": float(np.mean([x.low <= truth <= x.high for x in found])),
                    "width": round(float(np.mean([x.high - x.low for x in found])), 5),
                    "effective": round(float(np.mean([x.effective for x in found]))),
                }
            yield _by_bernstein(world.name, count, epsilon, name, truth, target, logs)


def _by_bernstein(
    world: str,
    count: int,
    epsilon: float,
    name: str,
    truth: float,
    target: Floats,
    logs: list[tuple[Logged, npt.NDArray[np.int64]]],
) -> dict[str, Any]:
    parts = [(weights(log, target[at]) - 1) * log.reward for log, at in logs]
    found = [bernstein(x, 1 / epsilon, LEVEL) for x in parts]
    return {
        "world": world,
        "requests": count,
        "epsilon": epsilon,
        "policy": name,
        "method": "ips, bernstein",
        "truth": round(truth, 5),
        "mean estimate": round(float(np.mean([x.mean() for x in parts])), 5),
        "covered": float(np.mean([low <= truth <= high for low, high in found])),
        "width": round(float(np.mean([high - low for low, high in found])), 5),
    }


def _plot(rows: list[dict[str, Any]]) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row["world"] for row in rows))
    methods = list(dict.fromkeys(row["method"] for row in rows))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for place, name in enumerate(names):
        for shift, method in enumerate(methods):
            mine = [r for r in rows if r["world"] == name and r["method"] == method]
            at = [place + (shift - 1.5) * 0.18] * len(mine)
            label = method if not place else None
            left.scatter(at, [r["covered"] for r in mine], s=14, color=f"C{shift}", label=label)
            widths = [r["width"] for r in mine]
            right.scatter(at, widths, s=14, color=f"C{shift}")
    left.axhline(LEVEL, color="black", linewidth=0.8, linestyle="--")
    left.set(title=f"Intervals that have the truth (stated: {LEVEL:.0%})", ylabel="share of logs")
    left.set_ylim(min(0.8, min(r["covered"] for r in rows) - 0.02), 1.01)
    right.set(title="Their width", ylabel="reward a request", yscale="log")
    for axes in (left, right):
        axes.set_xticks(range(len(names)), [name.replace(", ", ",\n") for name in names])
        axes.grid(axis="y", alpha=0.3)
    left.legend(loc="lower left", fontsize=8)
    figure.savefig(report.RESULTS / "off_policy.png", dpi=110)


if __name__ == "__main__":
    main()
