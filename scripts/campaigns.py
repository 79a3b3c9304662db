"""What the campaigns share: the `factory` command, and a store of its own for each round.

The store is SQLite in the round's folder, or a database on the server that `GROUNDMILL_TEST_POSTGRES` names
(`scripts/postgres` starts one).
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import NullPool, create_engine, make_url

ROOT = Path(__file__).parents[1]
FACTORY = [sys.executable, "-c", "from factory.cli.app import main; main()"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
SERVER = os.environ.get("GROUNDMILL_TEST_POSTGRES")

Rows = dict[str, list[tuple[object, ...]]]


@contextmanager
def store(folder: Path) -> Iterator[str]:
    """URL of a new, empty store, which the folder's factory.toml names; on a server it is gone afterwards."""
    if SERVER is None:
        url = f"sqlite:///{folder / 'groundmill.db'}"
    else:
        name = f"groundmill_campaign_{uuid4().hex[:12]}"
        _on_server(SERVER, f"CREATE DATABASE {name}")
        url = make_url(SERVER).set(database=name).render_as_string(hide_password=False)
    (folder / "factory.toml").write_text(f'[store]\nurl = "{url}"\n')
    try:
        yield url
    finally:
        if SERVER is not None:
            _on_server(SERVER, f"DROP DATABASE {name} WITH (FORCE)")


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """What a query finds."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def contents(url: str, tables: Mapping[str, str]) -> Rows:
    """Rows of some tables, by table → columns, in an order that does not depend on when they came."""
    return {name: sorted(rows(url, f"SELECT {columns} FROM {name}"), key=repr) for name, columns in tables.items()}


def _on_server(server: str, statement: str) -> None:
    with create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool).connect() as connection:
        connection.exec_driver_sql(statement)
