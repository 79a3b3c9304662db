"""Running the collector: it listens, says so, and ends in order when it is told to."""

import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from factory.collect.settings import CollectSettings
from logs_schema.errors import ConfigurationError
from logs_schema.importers.run import check_source
from logs_schema.pii.replace import Cleaner

if TYPE_CHECKING:
    from uvicorn import Server

    from factory.collect.app import CollectReport

TOKEN_LENGTH = 16
"""Characters of a token at the least."""
BACKLOG = 1000
"""Connections that wait to be taken."""
CONNECTIONS = 3000
"""Connections, idle ones too; requests are sent away long before, with a time to come again."""
END_SECONDS = 25
"""How long the end waits for requests that have begun: less than the 30 s that Kubernetes gives."""


def token_of(settings: CollectSettings) -> str | None:
    """The bearer token, from the environment; None when there is none and only this machine can reach the port.

    Raises:
        ConfigurationError: there must be one, or it is not usable. The message never holds it.
    """
    token = os.environ.get(settings.token_env, "")
    if not token:
        if not all(address.is_loopback for address in _addresses(settings.host)):
            raise ConfigurationError(
                f"[collect] host {settings.host} can be reached from other machines, so the collector needs a token: "
                f"set ${settings.token_env} to one, such as the output of `openssl rand -hex 24`."
            )
        return None
    if len(token) < TOKEN_LENGTH or not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigurationError(
            f"${settings.token_env} must hold {TOKEN_LENGTH} or more printable ASCII characters without spaces."
        )
    return token


def collect(
    engine: Engine,
    settings: CollectSettings,
    source: str,
    *,
    clean: Cleaner | None = None,
    listening: Callable[[str], None],
) -> "CollectReport":
    """Serve until SIGTERM or SIGINT; requests that have begun are finished first.

    Args:
        engine: the store.
        settings: where to listen, and the limits.
        source: name of the application, as for `factory import`.
        clean: takes personal data out of everything before it is stored (see `pii.replace.cleaner`).
        listening: called with the endpoint's URL when connections are taken.

    Raises:
        ConfigurationError: the source, the address or the token cannot be used, or a package is missing.
    """
    check_source(source)
    token = token_of(settings)
    try:
        import uvicorn

        from factory.collect.app import Collector
    except ImportError as error:
        raise ConfigurationError(
            f"The collector's packages are not installed ({error.name}): run pip install 'groundmill[collect]'."
        ) from error
    collector = Collector(engine, settings, source, token, clean)
    config = uvicorn.Config(
        collector.app(),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=END_SECONDS,
    )
    server = uvicorn.Server(config)
    with _listening_socket(settings) as listener, _ended_by_signals(server):
        host, port = listener.getsockname()[:2]
        listening(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1/traces")
        server.run(sockets=[listener])
    return collector.report()


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"[collect] host {host!r} is no address of this machine: {error}.") from error
    return [ipaddress.ip_address(str(address[4][0]).partition("%")[0]) for address in found]


def _listening_socket(settings: CollectSettings) -> socket.socket:
    address = _addresses(settings.host)[0]
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        return socket.create_server((str(address), settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"The collector cannot listen on {settings.host}, port {settings.port} ({error.strerror}): choose others "
            "in [collect] host and port, or stop the program that has them."
        ) from error


@contextmanager
def _ended_by_signals(server: "Server") -> Iterator[None]:
    """The server handles signals while it runs; here, those that come before, and those that it raises again after."""

    def end(*_: object) -> None:
        server.should_exit = True

    ends = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, end) for number in ends]
    try:
        yield
    finally:
        for number, handler in zip(ends, before, strict=True):
            signal.signal(number, handler)
