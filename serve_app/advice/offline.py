"""Advice from a history's file alone: nothing has to run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from router.advice.judge import State
from router.advice.table import Prices, Subject
from router.advice.trigger import Scope
from serve_app.advice.history import Damaged, History, refill
from serve_app.advice.jobs import job_of, run_job
from serve_app.advice.judging import Judging
from serve_app.config.advice import AdviceConfig

SIMULATE_WITHIN_S = 30.0
"""Of all effects together; what is left then is said not to be simulated."""


class NoAdvice(Exception):
    """Why a file gives no advice, for the person at the keyboard."""


def advise_from(path: Path, window_s: float | None = None, *, simulates: bool = True) -> Any:
    """Return what `/admin/advice` would: all rows, judged at the history's newest point.

    Args:
        path: of the history.
        window_s: judge so long a window instead of each trigger's own.
        simulates: whether the effects of what fires are simulated.

    Raises NoAdvice.

    """
    if not path.is_file():
        raise NoAdvice(f"{path}: there is no history (advice.path in the fleet file says where)")
    history = History(path, AdviceConfig(), repairs=False)
    try:
        return _advise(history, window_s, simulates=simulates)
    except Damaged as error:
        raise NoAdvice(f"{path}: is damaged; a running deployment begins it anew") from error
    finally:
        history.close()


def _advise(history: History, window_s: float | None, *, simulates: bool) -> dict[str, Any]:
    config, at = _config(history.kept("config")), history.last()
    if at is None or config is None:
        raise NoAdvice(f"{history.path}: has no points yet; the first come after two periods")
    subjects = [_subject(x) for x in history.kept("subjects") or ()]
    prices = Prices(**(history.kept("prices") or {}))
    judging = Judging(config, subjects, prices, window_s)
    refill(judging, history, at)
    rows = judging.rows()
    if simulates:
        _simulate(rows, history.kept("lanes") or {}, history.kept("traffic") or {})
    return {"enabled": True, "at": at, "period_s": config.period_s, "rows": rows}


def _config(told: Any) -> AdviceConfig | None:
    try:
        return None if told is None else AdviceConfig.model_validate(told)
    except ValidationError:
        # Another release has written it.
        return AdviceConfig()


def _subject(told: Mapping[str, Any]) -> Subject:
    return Subject(told["name"], frozenset(map(Scope, told["scopes"])), told["facts"])


def _simulate(rows: list[dict[str, Any]], lanes: Any, traffic: Any) -> None:
    begun = time.monotonic()
    for row in rows:
        if row["state"] != State.FIRING.value:
            continue
        if time.monotonic() - begun > SIMULATE_WITHIN_S:
            row["expected"] = {"simulated": False, "says": "not simulated: no time was left"}
        else:
            row["expected"] = run_job(job_of(row, lanes, traffic))
