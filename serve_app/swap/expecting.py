"""The forecasts of lanes that share cards, kept at hand for the arbiter."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from router.scaling.forecast import Forecast
from router.scaling.foretold import READ_EVERY_S
from serve_app.scaling.forecasts import published

logger = logging.getLogger("ray.serve")


class KnownForecasts:
    """The forecasts of some lanes, read on a thread: Ray's store may hang, the arbiter may not."""

    def __init__(self, lanes: Iterable[str]) -> None:
        self._lanes = tuple(lanes)
        self._known: dict[str, Forecast | None] = {}

    def read(self, lane: str) -> Forecast | None:
        return self._known.get(lane)

    def _read_all(self) -> dict[str, Forecast | None]:
        return {lane: published(lane) for lane in self._lanes}

    async def keep(self) -> None:
        """Read them anew every minute, for ever."""
        while True:
            try:
                self._known = await asyncio.to_thread(self._read_all)
            except Exception as error:  # noqa: BLE001  # Ray's, of any kind; old ones become none
                logger.debug("swap: no forecasts: %s", error)
            await asyncio.sleep(READ_EVERY_S)
