from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.dataset.world import World


@pytest.fixture
def world(tmp_path: Path, engine: Engine) -> World:
    return World(engine, tmp_path / "datasets")
