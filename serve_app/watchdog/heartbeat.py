"""What ties an engine's life to its replica's, and a replica's to its engine's.

An ingress replica has no engine, but an event loop that can stand still, too.

Downwards: a watchdog (`watchdog.py`) kills the replica's process group when the
replica is killed or its event loop stands still. Upwards: a replica whose engine is
dead or silent ends itself. Serve then sees a crashed actor, which it replaces at
once; a failed health check would be asked for three times, and then be drained for
as long as its stuck streams last. See docs/adr/0013-lane-life.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

logger = logging.getLogger("ray.serve")

WATCHDOG = Path(__file__).with_name("watchdog.py")
PERIOD_S = 1.0
CHECK_PERIOD_S = 2.0
"""Pause between two questions to the engine."""


class EngineSilent(Exception):
    """The engine did not answer in time."""


class Heartbeat:
    """Starts the watchdog and sends it heartbeats, while the engine shows that it lives.

    Make it before the engine: children inherit the process group. Engine and event loop may
    be silent for `silent_after_s`, which has to be longer than the engine's longest step: it
    answers between two. Raises RuntimeError where no watchdog could be started.
    """

    def __init__(self, name: str, silent_after_s: float) -> None:
        self._name = name
        self._silent_after_s = silent_after_s
        if os.getpgrp() != os.getpid():
            os.setpgid(0, 0)
        self._pipe = self._start_watchdog()

    def _start_watchdog(self) -> int:
        read, write = os.pipe2(os.O_CLOEXEC)
        # Full only if the watchdog no longer reads; the replica must not wait for it.
        os.set_blocking(write, False)
        command = [sys.executable, "-I", "-S", str(WATCHDOG)]
        command += [str(os.getpid()), str(self._silent_after_s)]
        try:
            done = subprocess.run(command, stdin=read, check=False)  # noqa: S603  # our own file
        finally:
            os.close(read)
        if done.returncode != 0:
            raise RuntimeError(f"{self._name}: no watchdog ({done.returncode})")
        return write

    def _send(self) -> None:
        """Tell the watchdog; begin anew with another one when it is gone."""
        try:
            os.write(self._pipe, b".")
        except BlockingIOError:
            pass
        except BrokenPipeError:
            logger.warning("%s: its watchdog was gone", self._name)
            with contextlib.suppress(OSError):
                os.close(self._pipe)
            self._pipe = self._start_watchdog()

    async def keep_sending(self) -> None:
        """Send heartbeats for ever: there is no engine, only an event loop that may stand still."""
        while True:
            try:
                self._send()
            except (OSError, RuntimeError):
                # Without a watchdog it serves on: that is no reason to break its streams off.
                logger.exception("%s: nobody watches it any more", self._name)
                return
            await asyncio.sleep(PERIOD_S)

    async def watch(self, check: Callable[[], Awaitable[None]]) -> None:
        """Send heartbeats and check the engine, for ever.

        `check` returns when the engine has answered and raises when it is dead. Raises
        EngineSilent when it has not answered for `silent_after_s`.
        """
        while True:
            await self._ask(check)
            await self._sleep(CHECK_PERIOD_S)

    async def _sleep(self, seconds: float) -> None:
        for _ in range(round(seconds / PERIOD_S)):
            await asyncio.sleep(PERIOD_S)
            self._send()

    async def _ask(self, check: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        asked = loop.time()
        question = asyncio.ensure_future(check())
        try:
            while not question.done():
                self._send()
                await asyncio.wait({question}, timeout=PERIOD_S)
                if not question.done() and loop.time() - asked >= self._silent_after_s:
                    raise EngineSilent(f"no answer for {self._silent_after_s:g} s")
            question.result()
        finally:
            question.cancel()

    async def run(
        self, check: Callable[[], Awaitable[None]], end: Callable[[], None] | None = None
    ) -> None:
        """Watch until the engine is lost, then end this process."""
        try:
            await self.watch(check)
        except Exception as error:  # noqa: BLE001  # whatever it is, the engine is no use
            logger.error(  # noqa: TRY400  # a traceback would say nothing more
                "%s: lost its engine (%s: %s); this replica ends, Serve starts another",
                self._name,
                type(error).__name__,
                error,
            )
            (end or end_process)()


async def answer_or_engine_death(
    question: Awaitable[None], check: Callable[[], Awaitable[None]]
) -> None:
    """Wait for an answer for as long as there is somebody to give it.

    vLLM does not end a call that was under way when its engine core was killed; it
    only notes the death (0.29.0: `utility_results` in `v1/engine/core_client.py`). So
    `check`, which raises when nobody is there any more, is asked before and every
    `PERIOD_S`. The question is cancelled when this ends without an answer.
    """
    asked = asyncio.ensure_future(question)
    try:
        while not asked.done():
            await check()
            await asyncio.wait({asked}, timeout=PERIOD_S)
        asked.result()
    finally:
        asked.cancel()


def end_process() -> NoReturn:
    """End at once: nothing that a clean exit would wait for can be relied on."""
    os._exit(1)
