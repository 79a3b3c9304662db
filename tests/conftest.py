"""Fixtures that every area uses."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

LOCAL = {None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", b"localhost", b"127.0.0.1"}


@pytest.fixture(autouse=True)
def _no_factory_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own FACTORY_* variables must not steer the tests."""
    for name in list(os.environ):
        if name.startswith("FACTORY_"):
            monkeypatch.delenv(name)


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
