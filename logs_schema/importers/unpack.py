"""The bytes of a log file in pieces: plain, gzip or Zstandard, told by their first bytes and never by the name."""

import gzip
import io
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol, cast

from logs_schema.errors import InputError

PIECE = 1 << 16
"""Bytes read at a time."""
RATIO_LIMIT = 300
"""How many times its size a file may unpack to, once it is past `RATIO_FROM`: logs reach 5 to 100."""
RATIO_FROM = 16 << 20
"""Bytes: low, for a bomb costs time too. So many blank lines take some four seconds to go through."""
TOTAL_LIMIT = 1 << 40
"""Bytes that one file may unpack to."""
WINDOW_LOG = 27
"""Zstandard windows up to 128 MiB, what its own tool reads without being told to."""
STDIN = "-"
PARQUET = b"PAR1"
GZIP = b"\x1f\x8b"
ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
"""A frame, or one to be skipped: parallel writers begin with those."""
REFUSED = {b"PK\x03\x04": "a zip archive", b"BZh": "bzip2", b"\xfd7zX": "xz"}


class Damaged(Exception):
    """A file cannot be read any further; the message is the reason."""


class Opened(NamedTuple):
    """An open file."""

    parquet: bool
    stream: IO[bytes]
    """The file itself, at its beginning; not to be used beside `pieces`."""
    pieces: Iterator[bytes]
    """Its bytes, unpacked. Raises Damaged."""


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Counted:
    """A stream whose first bytes were read already, and that counts what it gives."""

    def __init__(self, head: bytes, stream: _Readable) -> None:
        self.given = 0
        self._head = io.BytesIO(head)
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        data = self._head.read(size) or self._stream.read(size)
        self.given += len(data)
        return data


@contextmanager
def opened(file: str) -> Iterator[Opened]:
    """Open a file (`-` is standard input).

    Raises:
        InputError: it cannot be opened, or is packed in a way that is not read.
    """
    with ExitStack() as closing:
        try:
            stream = _standard_input() if file == STDIN else closing.enter_context(Path(file).open("rb"))
            head = stream.read(len(PARQUET))
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}.") from error
        for magic, name in REFUSED.items():
            if head.startswith(magic):
                raise InputError(f"{file} is {name}, which is not read: unpack it, or pack it with gzip or zstd.")
        counted = _Counted(head, stream)
        if head == PARQUET:
            yield Opened(True, stream, _pieces(counted, counted, ()))
        elif head.startswith(GZIP):
            yield Opened(False, stream, _pieces(gzip.GzipFile(fileobj=cast(Any, counted)), counted, (zlib.error,)))
        elif ZSTD.match(head):
            unpacked, error_kind = _zstd(counted)
            yield Opened(False, stream, _pieces(unpacked, counted, (error_kind,)))
        else:
            yield Opened(False, stream, _pieces(counted, counted, ()))


def refuse_bomb(unpacked: int, packed: int) -> None:
    """Stop what unpacks to more than any log does.

    Raises:
        Damaged: with the reason.
    """
    if unpacked > TOTAL_LIMIT:
        raise Damaged(f"it unpacks to more than {TOTAL_LIMIT >> 40} TiB")
    if unpacked > RATIO_FROM and unpacked > RATIO_LIMIT * packed:
        raise Damaged(f"it unpacks to more than {RATIO_LIMIT:,} times its size, which no log does")


def _pieces(stream: _Readable, packed: _Counted, errors: tuple[type[Exception], ...]) -> Iterator[bytes]:
    broken: tuple[type[Exception], ...] = (EOFError, OSError, *errors)
    unpacked = 0
    while True:
        try:
            piece = stream.read(PIECE)
        except broken as error:
            raise Damaged(str(error)) from error
        if not piece:
            return
        unpacked += len(piece)
        refuse_bomb(unpacked, packed.given)
        yield piece


def _standard_input() -> IO[bytes]:
    if sys.stdin is None:
        raise InputError("Standard input is closed: name a file, or feed the logs by a pipe.")
    return sys.stdin.buffer


def _zstd(stream: _Readable) -> tuple[_Readable, type[Exception]]:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG}
    return zstd.ZstdFile(cast(Any, stream), options=options), zstd.ZstdError
