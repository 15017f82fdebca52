"""Forecasts of lanes: made from the history, read where replicas and wakings are decided.

The ingress replica that keeps the history makes them, once an hour, and puts them into the
key-value store of Ray's control plane; the policy of each lane reads its own from there. A
forecast that is old, lost or foreign is none: the lane then follows the load alone.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

from router.scaling.forecast import Forecast, foretell
from router.scaling.foretold import EVERY_S, HISTORY_S
from serve_app.scaling import control_store

logger = logging.getLogger("ray.serve")

_KEY = "forecast:"

Points = Callable[
    [float, float], Iterable[tuple[float, Mapping[tuple[str, str], tuple[float, float]]]]
]
"""The history's points of five minutes that ended in (after, until], oldest first."""


def publish(lane: str, forecast: Forecast | None) -> None:
    """Keep a lane's forecast for its policy; None: it has no season any more."""
    told = b"" if forecast is None else json.dumps(asdict(forecast)).encode()
    control_store.put(f"{_KEY}{lane}", told)


def published(lane: str) -> Forecast | None:
    """Return a lane's forecast, whatever its age; a call of about a millisecond.

    One that another release wrote, and that cannot be read, is none, as is one of a store
    that does not answer: whoever asks is in the middle of a decision.
    """
    try:
        said = control_store.get(f"{_KEY}{lane}")
    except Exception as error:  # noqa: BLE001 - Ray's are many
        logger.warning("lane '%s': its forecast cannot be read: %s", lane, type(error).__name__)
        return None
    if not said:
        return None
    try:
        told = json.loads(said)
        return Forecast(**{**told, "values": tuple(map(float, told["values"]))})
    except (ValueError, TypeError, KeyError):
        return None


class Foreteller:
    """Makes the forecasts, where the history is kept. Calls block for some 50 ms a lane.

    Args:
        lanes: those that a forecast is made of, each with its signal in the history: of a lane
            that is scaled the requests in progress, those that wait among them; of one that
            shares its cards the requests a second.
        publish: what is done with each.

    """

    def __init__(
        self,
        lanes: Callable[[], Mapping[str, str]],
        publish: Callable[[str, Forecast | None], None] = publish,
    ) -> None:
        self._lanes, self._publish = lanes, publish
        self._due = float("-inf")

    def tell(self, points: Points, now: float) -> None:
        """Make a forecast of each lane, if it is time to."""
        lanes = self._lanes()
        if now < self._due or not lanes:
            return
        self._due = now + EVERY_S
        offset = datetime.fromtimestamp(now, UTC).astimezone().utcoffset()
        loads: dict[str, list[tuple[float, float]]] = {lane: [] for lane in lanes}
        for at, values in points(now - HISTORY_S, now):
            for lane, found in loads.items():
                total, weight = values.get((lanes[lane], lane), (0.0, 0.0))
                if weight:
                    found.append((at, total / weight))
        offset_s = 0 if offset is None else round(offset.total_seconds())
        for lane, found in loads.items():
            forecast = foretell(found, offset_s=offset_s)
            self._publish(lane, forecast)
            if forecast is not None:
                logger.info(
                    "lane '%s': its load repeats (%s, error %.0f %%; as an hour ago: %.0f %%)",
                    *(lane, forecast.season, 100 * forecast.error, 100 * forecast.error_as_now),
                )
