"""Fixtures that every area uses."""

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@pytest.fixture(autouse=True)
def _no_factory_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own FACTORY_* variables must not steer the tests."""
    for name in list(os.environ):
        if name.startswith("FACTORY_"):
            monkeypatch.delenv(name)
