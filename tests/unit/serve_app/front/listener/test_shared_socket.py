"""Several listeners on one socket: who takes what, who hangs, who leaves, who may ask."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator

import pytest
from starlette.types import Receive, Scope, Send

from serve_app.config.addresses import Frontend
from serve_app.front.listener import accepting, shared_port, sharing
from serve_app.front.listener import listener as listener_module
from serve_app.front.listener.accepting import AT_ONCE
from serve_app.front.listener.listener import Listener
from serve_app.front.listener.sharing import NobodyAnswers, family_of, share
from serve_app.front.listener.steering import join
from serve_app.protocol.asgi import respond
from tests.unit.serve_app.front.listener.test_own_listener import GET, App, Client, until


@pytest.fixture(autouse=True)
def _in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener_module, "LOOK_EVERY_S", 0.001)
    monkeypatch.setattr(shared_port, "LINGER_S", 0.001)
    monkeypatch.setattr(sharing, "ANSWERS_WITHIN_S", 0.1)


class Port:
    """A port that somebody else, as HAProxy, held first."""

    def __init__(self, haproxy: socket.socket) -> None:
        self.haproxy = haproxy
        self.host, self.port = haproxy.getsockname()
        self.clients: list[Client] = []
        self._running: dict[Listener, asyncio.Task[None]] = {}

    async def listener(self) -> Listener:
        """One more listener, which takes connections."""
        made = Listener(App(), Frontend(self.host, self.port, 60), name="pointsman")
        self._running[made] = asyncio.create_task(made.run())
        await until(lambda: made.row() is not None)
        return made

    async def ask(self, request: bytes = GET) -> int:
        client = await self.connect()
        client.say(request)
        status, _, _ = await client.answer()
        client.writer.close()
        return status

    async def connect(self) -> Client:
        client = Client(*await asyncio.open_connection(self.host, self.port))
        self.clients.append(client)
        return client

    async def end(self) -> None:
        for client in self.clients:
            client.writer.close()
        for listener, task in self._running.items():
            await listener.stop()
            await task


@contextlib.asynccontextmanager
async def held() -> AsyncIterator[Port]:
    with contextlib.closing(join("127.0.0.1", 0)) as haproxy:
        port = Port(haproxy)
        try:
            yield port
        finally:
            await port.end()


def served(*listeners: Listener) -> list[int]:
    return [listener._server.server_state.total_requests for listener in listeners]


def hang(listener: Listener) -> None:
    """It looks at the socket no more, and says on the board that it is there, as it last did."""
    assert listener._port is not None
    acceptor = listener._port._acceptor
    acceptor._loop.remove_reader(acceptor._listening)


async def test_requests_in_turn_go_to_each_listener_in_turn() -> None:
    async with held() as port:
        both = [await port.listener(), await port.listener()]
        for _ in range(10):
            assert await port.ask() == 200
            await until(lambda: not any(x._server.server_state.connections for x in both))
        assert served(*both) == [5, 5]


async def test_streams_go_to_who_has_fewest() -> None:
    async with held() as port:
        both = [await port.listener(), await port.listener()]
        waiting = [await port.connect() for _ in range(20)]
        for client in waiting:
            client.say(b"GET /wait HTTP/1.1\r\nhost: x\r\n\r\n")

        def has_open() -> list[int]:
            return [len(x._server.server_state.tasks) for x in both]

        await until(lambda: sum(has_open()) == 20)
        assert max(has_open()) - min(has_open()) <= 2 * AT_ONCE
        for listener in both:
            listener._app.go.set()  # type: ignore[attr-defined]


async def test_nobody_waits_for_one_that_hangs() -> None:
    """Its row says that it is there, and has nothing to do, for the whole of the test."""
    async with held() as port:
        hung, living = await port.listener(), await port.listener()
        hang(hung)
        assert [await port.ask() for _ in range(10)] == [200] * 10
        assert served(hung, living) == [0, 10]


async def test_what_waits_when_one_leaves_is_answered_by_the_other() -> None:
    async with held() as port:
        leaving, other = await port.listener(), await port.listener()
        hang(leaving)
        hang(other)
        waiting = [await port.connect() for _ in range(5)]
        for client in waiting:
            client.say(GET)
        await leaving.stop()
        assert other._port is not None
        other._port._acceptor._go_on()
        assert [(await client.answer())[0] for client in waiting] == [200] * 5
        with pytest.raises(BlockingIOError):
            port.haproxy.accept()


async def test_the_last_one_answers_what_is_there_and_leaves_the_rest_to_haproxy() -> None:
    async with held() as port:
        last = await port.listener()
        hang(last)
        waiting = [await port.connect() for _ in range(2 * AT_ONCE)]
        for client in waiting:
            client.say(GET)
        assert last._port is not None
        acceptor = last._port._acceptor
        acceptor._loop.add_reader(acceptor._listening, acceptor._ready)
        await last.stop()
        answers = [await client.answer() for client in waiting]
        assert [(status, headers["connection"]) for status, headers, _ in answers] == [
            (200, "close")
        ] * len(waiting)
        port.haproxy.setblocking(True)
        with socket.create_connection((port.host, port.port)):
            port.haproxy.accept()[0].close()


async def test_without_a_file_to_open_connections_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may have no more open files: it does not spin, and takes them later."""
    monkeypatch.setattr(accepting, "FULL_S", 0.001)
    async with held() as port:
        listener = await port.listener()
        assert listener._port is not None
        acceptor = listener._port._acceptor
        real, failed = acceptor._listening, 0

        class Full:
            """Fails once, as the kernel does then."""

            def accept(self) -> None:
                nonlocal failed
                failed += 1
                acceptor._listening = real
                raise OSError(errno.EMFILE, "Too many open files")

            def fileno(self) -> int:
                return real.fileno()

        acceptor._listening = Full()  # type: ignore[assignment]
        assert await port.ask() == 200
        assert failed == 1


async def test_of_two_that_leave_at_once_one_is_the_last() -> None:
    async with held() as port:
        both = [await port.listener(), await port.listener()]
        await asyncio.gather(*(x.stop() for x in both))
        port.haproxy.setblocking(True)
        with socket.create_connection((port.host, port.port)):
            port.haproxy.accept()[0].close()


async def test_a_newcomer_gets_connections_when_the_one_that_it_asked_has_left() -> None:
    async with held() as port:
        first, second = await port.listener(), await port.listener()
        await first.stop()
        third = await port.listener()
        await second.stop()
        assert await port.ask() == 200
        assert served(third) == [1]


async def test_replicas_come_and_go_and_no_connection_is_reset() -> None:
    """Five times a newcomer comes and the older one leaves, under eight clients."""
    async with held() as port:
        listeners = [await port.listener()]
        is_over = False

        async def keep_asking() -> list[int]:
            statuses = []
            while not is_over:
                statuses.append(await port.ask())
            return statuses

        asking = [asyncio.create_task(keep_asking()) for _ in range(8)]
        for _ in range(5):
            listeners.append(await port.listener())
            await listeners[-2].stop()
        is_over = True
        statuses = [status for answers in asking for status in await answers]
        assert statuses == [200] * len(statuses)
        assert all(served(*listeners[:-1]))


async def test_the_address_is_the_connection_s_whatever_its_client_says() -> None:
    async with held() as port:
        seen = []

        async def note(scope: Scope, receive: Receive, send: Send) -> None:
            seen.append((scope["client"][0], scope["scheme"]))
            await respond(send, 200, b"", [])

        listener = await port.listener()
        listener._app = note
        lines = b"x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n"
        assert await port.ask(b"GET / HTTP/1.1\r\nhost: x\r\n%b\r\n" % lines) == 200
        assert seen == [("127.0.0.1", "http")]


def test_who_hangs_is_not_passed_over_at_first_and_then_is() -> None:
    """Its socket would be the one that connections go to. Nobody looks whether it is asked."""
    with contextlib.closing(join("127.0.0.1", 0)) as haproxy:
        address = haproxy.getsockname()
        hung, offer = share(*address)
        with pytest.raises(NobodyAnswers):
            share(*address)
        mine, my_offer = share(*address, is_patient=False)
        assert mine.listening.getsockname() == address
        for x in (offer, my_offer, hung, mine):
            x.close()


def test_two_do_not_begin_at_the_same_time() -> None:
    with contextlib.closing(join("127.0.0.1", 0)) as haproxy:
        address = haproxy.getsockname()
        with (
            contextlib.closing(sharing._bound(f"{family_of(*address)}-joining")),
            pytest.raises(NobodyAnswers),
        ):
            share(*address)


async def test_another_user_is_handed_nothing_and_believed_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with held() as port:
        await port.listener()
        me = os.geteuid()
        family = family_of(port.host, port.port)
        monkeypatch.setattr(os, "geteuid", lambda: me + 1)
        (name,) = sharing._offers(family)
        assert await asyncio.to_thread(sharing._ask, name) is None
        with contextlib.closing(sharing._bound("pointsman-test-other")) as other:
            other.listen()
            assert sharing._ask("pointsman-test-other") is None
            asking, _ = other.accept()
            asking.close()
