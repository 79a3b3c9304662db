"""OTLP export bodies (spans and log events, as JSON) as plain dicts, one a span or event."""

from collections.abc import Iterator
from typing import Any

from logs_schema.importers.attributes import Tree, hex_id

BODIES = ("resourceSpans", "resource_spans", "resourceLogs", "resource_logs")
SCOPES = (
    *("scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans"),
    *("scopeLogs", "scope_logs"),
)
ERROR_CODES = (2, "2", "STATUS_CODE_ERROR")
PLAIN_KINDS = ("stringValue", "string_value", "boolValue", "bool_value", "doubleValue", "double_value")
OTHER_KINDS = ("bytesValue", "bytes_value")
NOT_NUMBERS = ("NaN", "Infinity", "-Infinity")
"""How JSON of protobuf writes a double that is none: not measured."""


def is_body(value: Tree) -> bool:
    """Whether a JSON object is an OTLP export body of spans or logs."""
    return any(isinstance(value.get(name), list) for name in BODIES)


def unpack(body: Tree) -> Iterator[Tree]:
    """Every span and log event of one decoded OTLP JSON body, in the shape of a span that stands alone.

    A span comes as `name, context.{trace_id,span_id}, parent_id, start_time, end_time, status_code,
    status_message, attributes, events, links, resource`; a log event as `event_name, context, start_time,
    attributes, body`. Times stay Unix nanoseconds. Ids come as hexadecimal in small letters, attributes as plain
    values. What is not of the expected shape is left out.
    """
    for group in _dicts(*(body.get(name) for name in BODIES)):
        resource = attributes_of((_dict(group.get("resource"))).get("attributes"))
        for scope in _dicts(*(group.get(name) for name in SCOPES)):
            for span in _dicts(scope.get("spans")):
                yield {**_span(span), "resource": resource}
            for record in _dicts(scope.get("logRecords"), scope.get("log_records")):
                yield {**_event(record), "resource": resource}


def attributes_of(pairs: Any) -> Tree:
    """Attributes from a list of {key, value} with typed values; a plain dict stays as it is."""
    if isinstance(pairs, dict):
        return pairs
    named = (pair for pair in _dicts(pairs) if isinstance(pair.get("key"), str) and pair["key"])
    return {pair["key"]: plain(pair.get("value")) for pair in named}


def plain(value: Any) -> Any:
    """The plain value of a typed one: {"intValue": "3"} is 3; None when it holds nothing of use."""
    if not isinstance(value, dict):
        return value
    for kind, inner in value.items():
        if kind in {"doubleValue", "double_value"} and inner in NOT_NUMBERS:
            return None
        if kind in PLAIN_KINDS:
            return inner
        if kind in {"intValue", "int_value"}:
            digits = str(inner)
            return int(digits) if len(digits) < 25 and digits.lstrip("-").isdecimal() else inner
        if kind in {"arrayValue", "array_value"}:
            return [plain(item) for item in _dict(inner).get("values") or () if isinstance(item, dict)]
        if kind in {"kvlistValue", "kvlist_value"}:
            return attributes_of(_dict(inner).get("values"))
        if kind in OTHER_KINDS:
            return None
    return None


def _span(span: Tree) -> Tree:
    status = _dict(span.get("status"))
    failed = status.get("code") in ERROR_CODES
    return {
        "name": span.get("name"),
        "context": _context(span),
        "parent_id": _id(span, "parentSpanId", "parent_span_id"),
        "start_time": _either(span, "startTimeUnixNano", "start_time_unix_nano"),
        "end_time": _either(span, "endTimeUnixNano", "end_time_unix_nano"),
        "status_code": "ERROR" if failed else "OK",
        "status_message": status.get("message") if failed else None,
        "attributes": attributes_of(span.get("attributes")),
        "events": [
            {
                "name": event.get("name"),
                "timestamp": _either(event, "timeUnixNano", "time_unix_nano"),
                "attributes": attributes_of(event.get("attributes")),
            }
            for event in _dicts(span.get("events"))
        ],
        "links": [
            {"context": _context(link), "attributes": attributes_of(link.get("attributes"))}
            for link in _dicts(span.get("links"))
        ],
    }


def _event(record: Tree) -> Tree:
    attributes = attributes_of(record.get("attributes"))
    times = ("timeUnixNano", "time_unix_nano", "observedTimeUnixNano", "observed_time_unix_nano")
    moments = (record.get(name) for name in times)
    return {
        "event_name": _either(record, "eventName", "event_name") or attributes.get("event.name"),
        "context": _context(record),
        "start_time": next((moment for moment in moments if moment not in (None, "", 0, "0")), None),
        "attributes": attributes,
        "body": plain(record.get("body")),
    }


def _context(value: Tree) -> Tree:
    return {"trace_id": _id(value, "traceId", "trace_id"), "span_id": _id(value, "spanId", "span_id")}


def _id(value: Tree, *names: str) -> str | None:
    found = hex_id(_either(value, *names))
    return found if found and found.strip("0") else None


def _either(value: Tree, *names: str) -> Any:
    return next((value[name] for name in names if value.get(name) is not None), None)


def _dict(value: Any) -> Tree:
    return value if isinstance(value, dict) else {}


def _dicts(*values: Any) -> Iterator[Tree]:
    for value in values:
        yield from (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))
