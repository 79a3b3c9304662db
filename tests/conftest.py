"""Fixtures that every area uses."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from sqlalchemy import Engine

from logs_schema.store import open_store
from tests.stores import SERVER, NewStore, stores

# a loaded machine is slow, not wrong; the same code gives the same result, and scripts/verify searches for new examples
settings.register_profile("groundmill", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("groundmill")
LOCAL = {None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", b"localhost", b"127.0.0.1"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only tests that are about this database; on PostgreSQL only those that use a store, as the others did before."""
    foreign = "sqlite_only" if SERVER else "postgres_only"
    others = {
        item
        for item in items
        if item.get_closest_marker(foreign) or (SERVER and "new_store" not in getattr(item, "fixturenames", ()))
    }
    config.hook.pytest_deselected(items=list(others))
    items[:] = sorted((item for item in items if item not in others), key=_begins_late)


def _begins_late(item: pytest.Item) -> bool:
    """The longest tests begin first: with several workers nobody waits for one of them in the end."""
    return item.path.name not in {"test_flow.py", "test_qlora.py"}


@pytest.fixture(autouse=True)
def _no_factory_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own FACTORY_* variables must not steer the tests."""
    for name in list(os.environ):
        if name.startswith("FACTORY_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """A shell's background jobs ignore Ctrl-C, and so would all processes that tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _nobody_calls_home() -> Iterator[None]:
    """No library may look up a host that no setting names: what it is told, it is told in vain, and counted."""
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def guarded(host: Any, *arguments: Any, **named: Any) -> Any:
        if host not in LOCAL:
            looked_up.append(str(host))
            raise socket.gaierror(f"the tests reach no host but this one: {host}")
        return real(host, *arguments, **named)

    socket.getaddrinfo = guarded
    yield
    socket.getaddrinfo = real
    assert not looked_up, f"hosts that something wanted to reach: {sorted(set(looked_up))}"


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStore]:
    with stores(tmp_path_factory.mktemp("migrated")) as make:
        yield make


@pytest.fixture
def store_url(tmp_path: Path, new_store: NewStore) -> str:
    return new_store(tmp_path)


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = open_store(store_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def _opened() -> list[Engine]:
    return []


@pytest.fixture(scope="session")
def fresh(new_store: NewStore, tmp_path_factory: pytest.TempPathFactory, _opened: list[Engine]) -> Callable[[], Engine]:
    """A new empty store at every call, for property tests; it is closed after the test at the latest."""

    def make() -> Engine:
        _opened.append(open_store(new_store(tmp_path_factory.mktemp("fresh"))))
        return _opened[-1]

    return make


@pytest.fixture(autouse=True)
def _closed(_opened: list[Engine]) -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().dispose()


@pytest.fixture
def cli_store(monkeypatch: pytest.MonkeyPatch, store_url: str) -> str:
    """The test's store, as the one that commands use; its URL."""
    monkeypatch.setenv("FACTORY_STORE__URL", store_url)
    return store_url
