import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, NullPool, create_engine, make_url, text

from logs_schema.store import open_store

SERVER = os.environ.get("GROUNDMILL_TEST_POSTGRES")
"""URL of a PostgreSQL database whose role may create others: the tests then run there instead of on SQLite."""

sqlite_only = pytest.mark.skipif(SERVER is not None, reason="about SQLite's file")

OPENED: list[Engine] = []
NewStore = Callable[[Path], str]
"""Folder to URL of a new, empty store; on SQLite it is `store.db` in that folder."""


@pytest.fixture(scope="session")
def new_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NewStore]:
    """New stores as copies of an empty, migrated one: migrating takes longer than a whole test."""
    if SERVER:
        with _databases(SERVER) as make:
            yield make
        return
    migrated = tmp_path_factory.mktemp("migrated") / "store.db"
    open_store(f"sqlite:///{migrated}").dispose()

    def copy(folder: Path) -> str:
        shutil.copy(migrated, folder / "store.db")
        return f"sqlite:///{folder / 'store.db'}"

    yield copy


@contextmanager
def _databases(server: str) -> Iterator[NewStore]:
    admin = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    names = [f"groundmill_test_{uuid4().hex[:12]}"]
    numbers = count()

    def run(statement: str) -> None:
        with admin.connect() as connection:
            connection.execute(text(statement))

    def url(name: str) -> str:
        return make_url(server).set(database=name).render_as_string(hide_password=False)

    def copy(_: Path) -> str:
        names.append(f"{names[0]}_{next(numbers)}")
        run(f"CREATE DATABASE {names[-1]} TEMPLATE {names[0]}")
        return url(names[-1])

    run(f"CREATE DATABASE {names[0]}")
    try:
        open_store(url(names[0])).dispose()
        yield copy
    finally:
        for name in names:
            run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def store_url(tmp_path: Path, new_store: NewStore) -> str:
    return new_store(tmp_path)


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = open_store(store_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def fresh(new_store: NewStore, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Engine]:
    """A new empty store at every call, for property tests; it is closed after the test at the latest."""

    def make() -> Engine:
        OPENED.append(open_store(new_store(tmp_path_factory.mktemp("fresh"))))
        return OPENED[-1]

    return make


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().dispose()
