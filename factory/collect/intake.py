"""Reading a request's body: bounded in size, in time, and in what all requests together hold."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus

from factory.collect.refusal import Refusal

PIECE = 1 << 16
MIB = 1 << 20
WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""`Content-Encoding` → what zlib calls it; `deflate` comes within a zlib header, as HTTP defines it."""


class Budget:
    """Bytes that all requests together may hold. Used by the event loop's thread only."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def take(self, size: int) -> None:
        """Take so many bytes.

        Raises:
            Refusal: there is no room for them; the sender is to try again later.
        """
        if self.taken + size > self.limit:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The collector has as much to store as it can hold.")
        self.taken += size

    def give_back(self, size: int) -> None:
        """Give back what was taken."""
        self.taken -= size


class Share:
    """A request's part of the budget: bytes are taken as they come, and all given back together."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.size = 0

    def take(self, size: int) -> None:
        """As `Budget.take`."""
        self._budget.take(size)
        self.size += size

    def give_back(self) -> None:
        """Give back everything that was taken."""
        self._budget.give_back(self.size)
        self.size = 0


async def read(stream: AsyncIterator[bytes], encoding: str, limit: int, share: Share, seconds: float) -> bytes:
    """The whole body, decompressed.

    Args:
        stream: pieces of the body as they come in.
        encoding: `Content-Encoding` of the request.
        limit: bytes at the most, as they come and decompressed.
        share: what the body is counted in.
        seconds: time within which it must be whole.

    Raises:
        Refusal: it is too large, too slow, not what its encoding says, or there is no room.
    """
    if encoding not in {"", "identity", *WINDOWS}:
        message = f"The Content-Encoding is none of {', '.join(WINDOWS)} and identity."
        raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, message)
    unpacking = Unpacking(encoding) if encoding in WINDOWS else None
    body, came = bytearray(), 0
    try:
        async with asyncio.timeout(seconds):
            async for data in stream:
                came += len(data)
                for piece in unpacking.pieces(data) if unpacking else (data,):
                    if max(came, len(body) + len(piece)) > limit:
                        raise _too_large(limit)
                    share.take(len(piece))
                    body += piece
    except TimeoutError:
        raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"The request was not whole within {seconds:g} s.") from None
    if unpacking and not unpacking.whole:
        raise Refusal(HTTPStatus.BAD_REQUEST, f"The {encoding} data end too early.")
    return bytes(body)


def _too_large(limit: int) -> Refusal:
    message = f"The request is larger than {limit // MIB} MiB; send fewer spans at a time."
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


class Unpacking:
    """Decompresses piece by piece, so that no more is in memory than was asked for."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream = zlib.decompressobj(WINDOWS[encoding])
        self._begun = False

    @property
    def whole(self) -> bool:
        """Whether the data so far end where a member ends."""
        return self._begun and self._stream.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What the data decompress to, `PIECE` bytes at a time; members may follow each other.

        Raises:
            Refusal: the data are not of the encoding.
        """
        more = False  # output may be left although all input went in
        while data or more:
            self._begun = True
            if self._stream.eof:
                self._stream = zlib.decompressobj(WINDOWS[self._encoding])
            try:
                piece = self._stream.decompress(data, PIECE)
            except zlib.error:
                message = f"The body is not {self._encoding}, though its Content-Encoding is."
                raise Refusal(HTTPStatus.BAD_REQUEST, message) from None
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            more = len(piece) == PIECE and not self._stream.eof
            if piece:
                yield piece
