"""One connection to a Postgres server, opened again when it is lost."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pg8000.exceptions import DatabaseError, Error
from pg8000.native import Connection

from serve_app.config.records import PostgresConfig
from serve_app.tenancy.store import StoreError

TIMEOUT_S = 5.0
"""For the connection, and for each statement: longer than any takes on a server that works."""

_SETTINGS = {
    "search_path": "pointsman",
    "statement_timeout": "5s",
    "idle_in_transaction_session_timeout": "60s",
    # What was acknowledged is kept, as the rest of the store relies on it.
    "synchronous_commit": "on",
}


class PostgresConnection:
    """The connection of one process. The threads of it take turns.

    Nothing is opened before the first use. A connection that turns out to be lost before
    anything was done on it is opened again at once; one that is lost later is an error, and
    the next use opens another.

    Args:
        prepare: makes the tables, on each connection that was just opened.

    """

    def __init__(self, config: PostgresConfig, prepare: Callable[[Connection], object]) -> None:
        self._config = config
        self._turn = threading.RLock()
        self._prepare = prepare
        self._db: Connection | None = None

    @contextlib.contextmanager
    def transaction(self, kind: str = "READ COMMITTED") -> Iterator[Connection]:
        """All or nothing. Raises StoreError; what the body raises passes unchanged."""
        with self._turn, self._told():
            db = self._begun(kind)
            try:
                yield db
            except BaseException:
                self._roll_back(db)
                raise
            db.run("COMMIT")

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._turn:
            db, self._db = self._db, None
            if db is not None:
                with contextlib.suppress(Error, OSError):
                    db.close()

    def _begun(self, kind: str) -> Connection:
        """Return a connection on which a transaction has begun."""
        begin = f"BEGIN ISOLATION LEVEL {kind}"
        if self._db is not None:
            try:
                self._db.run(begin)
            except (Error, OSError):
                # The server was started anew, or a firewall dropped an idle connection.
                self.close()
            else:
                return self._db
        db = self._db = self._opened()
        db.run(begin)
        return db

    def _roll_back(self, db: Connection) -> None:
        try:
            db.run("ROLLBACK")
        except (Error, OSError):
            self.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the driver's errors into StoreError, and give up what cannot go on."""
        try:
            yield
        except DatabaseError as error:
            raise StoreError(f"{self._config.place}: {_words(error)}") from error
        except Error as error:
            self.close()
            raise StoreError(f"{self._config.place}: {error}") from error
        except (TimeoutError, ConnectionError, ssl.SSLError) as error:
            self.close()
            raise StoreError(f"{self._config.place}: {error}") from error

    def _opened(self) -> Connection:
        config = self._config
        path = config.password_file
        password = None if path is None else Path(path).read_text().strip()
        host = config.host
        place: dict[str, Any] = (
            {"unix_sock": f"{host}/.s.PGSQL.{config.port}", "host": None}
            if config.is_socket
            else {"host": host, "port": config.port}
        )
        db = Connection(
            config.user,
            database=config.database,
            password=password,
            timeout=TIMEOUT_S,
            application_name="pointsman",
            ssl_context=_tls(config),
            startup_params=_SETTINGS,
            **place,
        )
        try:
            self._prepare(db)
        except BaseException:
            with contextlib.suppress(Error, OSError):
                db.close()
            raise
        return db


def _tls(config: PostgresConfig) -> ssl.SSLContext | bool:
    """Return how the server proves who it is; False: no TLS."""
    if not config.uses_tls:
        return False
    return ssl.create_default_context(cafile=config.ca_file)


def _words(error: DatabaseError) -> str:
    """What the server says of an error, without its detail, which may have values in it."""
    told = error.args[0] if error.args else ""
    if isinstance(told, dict):
        return f"{told.get('M', 'refused')} (SQLSTATE {told.get('C', 'unknown')})"
    return str(told)
