import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from logs_schema.store import open_store


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty, migrated SQLite store to copy: migrating takes longer than a whole test."""
    path = tmp_path_factory.mktemp("migrated") / "store.db"
    open_store(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture
def store_url(tmp_path: Path, migrated: Path) -> str:
    path = tmp_path / "store.db"
    shutil.copy(migrated, path)
    return f"sqlite:///{path}"


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = open_store(store_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def fresh(migrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Engine]:
    """A new empty store at every call, for property tests."""

    def make() -> Engine:
        path = tmp_path_factory.mktemp("fresh") / "store.db"
        shutil.copy(migrated, path)
        return open_store(f"sqlite:///{path}")

    return make
