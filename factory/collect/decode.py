"""From the bytes of an OTLP request to spans and feedback, by the same code that reads log files."""

import json
from collections.abc import Iterator
from enum import Enum
from http import HTTPStatus
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from factory.collect.refusal import Refusal
from logs_schema.importers.fields import check, no_constant
from logs_schema.importers.otel import parse_span
from logs_schema.importers.otlp import is_body, unpack
from logs_schema.importers.parsed import Parsed, gathered
from logs_schema.importers.spans import Span

PARTS_LIMIT = 1_000_000
"""Messages within messages (JSON: brackets) at the most: an empty one takes 2 bytes on the wire and 170 in memory."""
SPANS_LIMIT = 20_000
"""Spans or events of one request at the most: some seconds of work. Exporters send 512, Collectors some thousands."""
PROTOBUF, JSON = "application/x-protobuf", "application/json"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of protobuf."""


class Signal(Enum):
    """What is exported: its request and its response."""

    traces = (ExportTraceServiceRequest, ExportTraceServiceResponse)
    logs = (ExportLogsServiceRequest, ExportLogsServiceResponse)

    @property
    def request(self) -> type[Message]:
        """Protobuf message of a request."""
        message: type[Message] = self.value[0]
        return message

    def response(self, rejected: int, message: str) -> Message:
        """Protobuf message of a response; with nothing rejected, an empty one."""
        counted = "rejectedSpans" if self is Signal.traces else "rejectedLogRecords"
        told = {"partialSuccess": {counted: rejected, "errorMessage": message}} if rejected else {}
        answer: Message = self.value[1]()
        return ParseDict(told, answer)


def decode(body: bytes, media_type: str, signal: Signal, source: str) -> tuple[Parsed, int]:
    """(what a request holds, how many spans or events came). Spans of other libraries (HTTP, databases) are left out.

    Raises:
        Refusal: it is no request of this signal.
    """
    value = _from_protobuf(body, signal) if media_type == PROTOBUF else _from_json(body)
    came = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal came
        for item in unpack(value):
            came += 1
            if came > SPANS_LIMIT:
                raise _too_many(SPANS_LIMIT, "spans")
            yield item

    try:
        return gathered(counted(), source, _take), came
    except RecursionError:
        raise Refusal(HTTPStatus.BAD_REQUEST, "The body is nested too deep.") from None


def _take(value: dict[str, Any], source: str) -> Parsed:
    check(value)
    parsed = parse_span(value, source)
    return parsed._replace(spans=[span for span in parsed.spans if _tells(span)])


def _tells(span: Span) -> bool:
    """Whether a span says anything of an answer: those that no AI library made do not."""
    return span.kind != "UNKNOWN" or bool(span.query or span.output or span.documents or span.messages)


def _from_json(body: bytes) -> dict[str, Any]:
    if body.count(b"{") + body.count(b"[") > PARTS_LIMIT:
        raise _too_many(PARTS_LIMIT, "parts")
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Refusal(HTTPStatus.BAD_REQUEST, f"The body is not JSON: {reason}.") from None
    if not isinstance(value, dict) or (value and not is_body(value)):
        raise Refusal(HTTPStatus.BAD_REQUEST, "The body is no OTLP request: it holds neither resourceSpans nor Logs.")
    return value


def _from_protobuf(body: bytes, signal: Signal) -> dict[str, Any]:
    if parts(body, signal.request) > PARTS_LIMIT:
        raise _too_many(PARTS_LIMIT, "parts")
    try:
        message = signal.request.FromString(body)
    except DecodeError:
        name = signal.request.DESCRIPTOR.full_name
        raise Refusal(HTTPStatus.BAD_REQUEST, f"The body is not protobuf of {name}.") from None
    value: dict[str, Any] = MessageToDict(message)
    return value


def _too_many(limit: int, what: str) -> Refusal:
    message = f"The request holds more than {limit:,} {what}; send fewer spans at a time."
    return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


def parts(body: bytes, message: type[Message]) -> int:
    """Messages in a protobuf message, itself left out; counting ends above `PARTS_LIMIT`, and where it is malformed.

    Parsing allocates for each of them before anything could be counted, so this looks at the wire format first.
    """
    found, at, end = 0, 0, len(body)
    kind: Any = message.DESCRIPTOR
    above: list[tuple[int, Any]] = []
    while found <= PARTS_LIMIT:
        while at >= end and above:
            end, kind = above.pop()
        if at >= end:
            break
        tag, at = _varint(body, at)
        wire = tag & 7
        size = {FIXED64: 8, FIXED32: 4}.get(wire, 0)
        if wire in {VARINT, BYTES}:
            size, at = _varint(body, at)
        field = kind.fields_by_number.get(tag >> 3) if wire == BYTES else None
        if field is not None and field.message_type is not None:
            found += 1
            above.append((end, kind))
            end, kind = min(at + size, end), field.message_type
        elif wire != VARINT:
            at += size
    return found


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """(value, where it ends); the parser says later what is wrong with a malformed one."""
    value = shift = 0
    while at < len(body) and shift < 70:
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return value, at
