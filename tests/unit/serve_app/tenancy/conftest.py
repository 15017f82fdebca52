"""A tenancy store of each kind: in a file, and on a real Postgres server."""

from contextlib import closing

import pytest

from serve_app.config.records import StoreConfig
from serve_app.tenancy.sqlite_store import SqliteStore
from serve_app.tenancy.stores import open_store
from tests.postgres import running


@pytest.fixture(scope="session")
def postgres():
    with running() as server:
        yield server


class Place:
    """Where a store is kept; each `opened` is another process's view of it."""

    def __init__(self, path, config=StoreConfig()):
        self.path = path
        self.config = config

    def opened(self):
        return open_store(self.config, self.path)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    path = tmp_path / "state" / "tenancy.db"
    if request.param == "sqlite":
        return Place(path)
    server = request.getfixturevalue("postgres")
    return Place(path, on_server(server))


def on_server(server, **kwargs) -> StoreConfig:
    """An empty database, over the server's socket."""
    name = server.made()
    near = {"host": str(server.folder), "port": server.port}
    return StoreConfig.model_validate({"postgres": {"database": name, **near, **kwargs}})


@pytest.fixture
def store(place):
    with closing(place.opened()) as made:
        yield made


@pytest.fixture
def file_store(tmp_path):
    with closing(SqliteStore(tmp_path / "state" / "tenancy.db")) as made:
        yield made
