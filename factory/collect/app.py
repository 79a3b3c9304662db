"""The collector's ASGI application: `POST /v1/traces`, `POST /v1/logs` and `GET /health`."""

import asyncio
import hmac
import ipaddress
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from factory.collect.decode import JSON, PROTOBUF, Signal, decode
from factory.collect.intake import MIB, Budget, Share, read
from factory.collect.refusal import RPC_CODES, Refusal
from factory.collect.settings import CollectSettings
from factory.collect.writer import Writer
from logs_schema.errors import FactoryError
from logs_schema.importers.parsed import Parsed, cleaned
from logs_schema.pii.replace import Cleaner, replaced_text
from logs_schema.records import Value
from logs_schema.wording import counted

logger = logging.getLogger(__name__)

REQUESTS = 1000
"""Requests at a time."""


class CollectReport(Value):
    """What a collector took in while it ran."""

    requests: int
    """Requests that were stored."""
    refused: int
    """Requests that were not: wrong, too large, or too many at once."""
    spans: int
    """Spans and events of the stored requests."""
    kept: int
    """Those of them that tell something of an answer."""
    rejected: int
    """Those of them that could not be used."""
    new: int
    """Records that were not in the store."""
    updated: int
    """Times that a record's content changed."""
    forgotten: int
    """Times that something came of a forgotten trace, and was left out."""
    replaced: dict[str, int]
    """Kind of personal data → placeholders put in its place."""

    def text(self) -> str:
        """Plain text for a terminal."""
        left_out = f" Left out as forgotten: {self.forgotten:,}." if self.forgotten else ""
        taken = (
            f"{counted(self.requests, 'request')} with {counted(self.spans, 'span')}: {self.kept:,} kept, "
            f"{self.rejected:,} rejected, the others of no use here; {counted(self.new, 'new record')}, "
            f"{counted(self.updated, 'update')}. {counted(self.refused, 'request was', 'requests were')} refused."
            f"{left_out}"
        )
        return "\n".join([taken, *replaced_text(self.replaced)])


class Collector:
    """The endpoint's state: its budget, its threads, and what it counted."""

    def __init__(
        self, engine: Engine, settings: CollectSettings, source: str, token: str | None, clean: Cleaner | None
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._source = source
        self._clean = clean
        self._authorization = f"Bearer {token}".encode() if token else None
        self._budget = Budget(settings.max_waiting_mib * MIB)
        self._writer = Writer(engine, source)
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="collect-decoder")
        self._open = 0
        self._requests = self._refused = self._spans = self._kept = self._rejected = 0

    def report(self) -> CollectReport:
        """What it took in so far."""
        return CollectReport(
            requests=self._requests,
            refused=self._refused,
            spans=self._spans,
            kept=self._kept,
            rejected=self._rejected,
            new=self._writer.new,
            updated=self._writer.updated,
            forgotten=self._writer.forgotten,
            replaced=dict(sorted(self._clean.counts.items())) if self._clean else {},
        )

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/traces", self._traces, methods=["POST"]),
                Route("/v1/logs", self._logs, methods=["POST"]),
                Route("/health", self._health, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _not_here},
            lifespan=self._lifespan,
        )

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            self._decoder.shutdown()
            self._writer.close()

    async def _traces(self, request: Request) -> Response:
        return await self._export(request, Signal.traces)

    async def _logs(self, request: Request) -> Response:
        return await self._export(request, Signal.logs)

    async def _export(self, request: Request, signal: Signal) -> Response:
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        share = Share(self._budget)
        self._open += 1
        try:
            self._admit(request, media_type)
            body = await self._body(request, share)
            rejected, reason = await self._store(body, media_type, signal)
        except Refusal as refusal:
            self._refused += 1
            share.give_back()
            if refusal.status != HTTPStatus.REQUEST_TIMEOUT:
                await self._drain(request)
            return _encoded(_status(refusal.status, refusal.message), media_type, refusal.status, refusal.headers)
        except ClientDisconnect:
            self._refused += 1
            return Response(status_code=HTTPStatus.BAD_REQUEST)  # nobody is there to read it
        finally:
            self._open -= 1
            share.give_back()
        return _encoded(signal.response(rejected, reason), media_type, HTTPStatus.OK)

    def _admit(self, request: Request, media_type: str) -> None:
        given = request.headers.get("authorization", "").encode()
        if self._authorization is not None and not hmac.compare_digest(given, self._authorization):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "The bearer token is missing or wrong.")
        if self._authorization is None and not _names_this_machine(request.url.hostname or ""):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "Without a token, only requests to localhost are taken.")
        if self._open > REQUESTS:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "The collector has as many requests as it can hold.")
        if media_type not in {PROTOBUF, JSON}:
            raise Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"The Content-Type is neither {PROTOBUF} nor {JSON}.")

    async def _body(self, request: Request, share: Share) -> bytes:
        encoding = request.headers.get("content-encoding", "").strip().lower()
        limit = self._settings.max_request_mib * MIB
        return await read(request.stream(), encoding, limit, share, self._settings.read_seconds)

    async def _store(self, body: bytes, media_type: str, signal: Signal) -> tuple[int, str]:
        """Decode and commit; (spans that could not be used, why)."""
        loop = asyncio.get_running_loop()
        parsed, came = await loop.run_in_executor(self._decoder, self._decode, body, media_type, signal)
        if parsed.spans or parsed.feedback:
            await self._writer.save(parsed)
        rejected = len(parsed.problems)
        reason = "; ".join(dict.fromkeys(parsed.problems[:5])) + ("; …" if rejected > 5 else "")
        if rejected:
            logger.warning("%d of %d spans cannot be used: %s", rejected, came, reason)
        self._requests += 1
        self._spans += came
        self._kept += len(parsed.spans)
        self._rejected += rejected
        return rejected, reason

    def _decode(self, body: bytes, media_type: str, signal: Signal) -> tuple[Parsed, int]:
        parsed, came = decode(body, media_type, signal, self._source)
        return (cleaned(parsed, self._clean) if self._clean else parsed), came

    async def _drain(self, request: Request) -> None:
        """Let the sender finish, within bounds: most read the answer only then."""
        left = self._settings.max_request_mib * MIB
        try:
            async with asyncio.timeout(self._settings.read_seconds):
                async for data in request.stream():
                    left -= len(data)
                    if left < 0:
                        return
        except (TimeoutError, ClientDisconnect, RuntimeError):  # RuntimeError: the stream has been read already
            return

    async def _health(self, _: Request) -> Response:
        """200 when the store can be read."""
        sound = await asyncio.to_thread(self._store_answers)
        status = HTTPStatus.OK if sound else HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"status": "ok" if sound else "the store cannot be read"}, status)

    def _store_answers(self) -> bool:
        try:
            with self._engine.connect() as connection:
                connection.execute(select(1))
        except (FactoryError, SQLAlchemyError):
            return False
        return True


def _names_this_machine(host: str) -> bool:
    """False for a name that a web page made lead here, so that its script may send to this port."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _not_here(request: Request, error: Exception) -> Response:
    """Unknown paths and methods."""
    assert isinstance(error, HTTPException)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    status = HTTPStatus(error.status_code)
    message = f"{status.phrase}: spans go to POST /v1/traces, log events to POST /v1/logs."
    return _encoded(_status(status, message), media_type, status, dict(error.headers or {}))


def _status(status: HTTPStatus, message: str) -> Status:
    return Status(code=RPC_CODES.get(status, 2), message=message)


def _encoded(message: Message, media_type: str, status: HTTPStatus, headers: dict[str, str] | None = None) -> Response:
    """A response in the request's own encoding; JSON when that is none of OTLP's."""
    if media_type == PROTOBUF:
        return Response(message.SerializeToString(), status, headers, PROTOBUF)
    return Response(MessageToJson(message, indent=None), status, headers, JSON)
