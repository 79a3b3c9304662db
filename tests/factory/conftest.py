from collections.abc import Iterator
from pathlib import Path

import pytest

from logs_schema.store import open_store
from tests.dataset.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    yield World(engine, tmp_path / "datasets")
    engine.dispose()
