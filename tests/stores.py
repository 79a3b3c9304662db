"""New, empty stores for tests: on SQLite, or on the PostgreSQL server that `GROUNDMILL_TEST_POSTGRES` names."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, NullPool, create_engine, make_url, select, text
from sqlmodel import SQLModel

from logs_schema.store import open_store

SERVER = os.environ.get("GROUNDMILL_TEST_POSTGRES")
"""URL of a PostgreSQL database whose role may create others: the tests then run there instead of on SQLite."""

THROWN_AWAY = "GROUNDMILL_TEST_THROWN_AWAY" in os.environ
"""The server goes when the tests end, as that of scripts/postgres does: hundreds of databases need not be dropped."""

sqlite_only = pytest.mark.sqlite_only
postgres_only = pytest.mark.postgres_only

NewStore = Callable[[Path], str]
"""Folder to URL of a new, empty store; on SQLite it is `store.db` in that folder."""


@contextmanager
def stores(folder: Path) -> Iterator[NewStore]:
    """Makes stores as copies of an empty, migrated one: migrating takes longer than a whole test."""
    if SERVER:
        with _databases(SERVER) as make:
            yield make
        return
    migrated = folder / "store.db"
    open_store(f"sqlite:///{migrated}").dispose()

    def copy(folder: Path) -> str:
        shutil.copy(migrated, folder / "store.db")
        return f"sqlite:///{folder / 'store.db'}"

    yield copy


def words_in(engine: Engine) -> str:
    """Everything that the rows of a store say."""
    with engine.connect() as connection:
        return "\n".join(
            str(row) for table in SQLModel.metadata.sorted_tables for row in connection.execute(select(table))
        )


@contextmanager
def _databases(server: str) -> Iterator[NewStore]:
    admin = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    names = [f"groundmill_test_{uuid4().hex[:12]}"]
    numbers = count()

    def run(*statements: str) -> None:
        with admin.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))

    def url(name: str) -> str:
        return make_url(server).set(database=name).render_as_string(hide_password=False)

    def copy(_: Path) -> str:
        names.append(f"{names[0]}_{next(numbers)}")
        run(f"CREATE DATABASE {names[-1]} TEMPLATE {names[0]}{as_files}")
        return url(names[-1])

    run(f"CREATE DATABASE {names[0]}")
    with admin.connect() as connection:  # four times as fast as through the log, where the server lets us choose
        as_files = " STRATEGY FILE_COPY" if connection.dialect.server_version_info >= (15,) else ""
    try:
        open_store(url(names[0])).dispose()
        yield copy
    finally:
        if not THROWN_AWAY:
            run(*(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in names))
