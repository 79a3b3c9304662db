import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.collect.otlp_examples import Running
from tests.stores import NewStore


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, new_store: NewStore) -> Iterator[Running]:
    """One collector for the tests of a module, with limits that tests can reach."""
    limits = "[collect]\nmax_request_mib = 1\nread_seconds = 2\n"
    folder = tmp_path_factory.mktemp("collector")
    running = Running(folder, new_store(folder), toml=limits)
    yield running
    running.end()


class Start(Protocol):
    """Starts a collector in the test's folder; what still runs when the test ends is killed."""

    def __call__(self, *words: str, toml: str = "", **environment: str) -> Running: ...


@pytest.fixture
def start(tmp_path: Path, store_url: str) -> Iterator[Start]:
    started: list[Running] = []

    def begin(*words: str, toml: str = "", **environment: str) -> Running:
        started.append(Running(tmp_path, store_url, *words, toml=toml, **environment))
        return started[-1]

    yield begin
    for running in started:
        if running.process.returncode is None:
            running.end(signal.SIGKILL)
