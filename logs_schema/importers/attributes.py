"""Span attributes as a tree, whichever way they are written, and what identifies a span."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from logs_schema.importers.fields import any_moment, json_value, moment, text_of
from logs_schema.records import content_hash

Tree = dict[str, Any]
KEY_PARTS = 24
"""Dots of one attribute name that mean nesting."""
BASE64_SIZES = {24: 16, 12: 8}
"""Characters → bytes of a trace id and of a span id in base64."""


def nested(value: Any) -> Any:
    """Dotted keys as nested dicts, at every level: {"a.b": 1} and {"a": {"b": 1}} come out alike."""
    if isinstance(value, list):
        return [nested(item) for item in value]
    if not isinstance(value, dict):
        return value
    tree: Tree = {}
    for key, item in value.items():
        _merge(tree, key.split(".", KEY_PARTS), nested(item))
    return tree


def _merge(tree: Tree, path: list[str], item: Any) -> None:
    *parents, last = path
    for part in parents:
        child = tree.get(part)
        if not isinstance(child, dict):
            child = tree[part] = {}
        tree = child
    known = tree.get(last)
    if isinstance(known, dict) and isinstance(item, dict):
        for key, inner in item.items():
            _merge(known, [key], inner)
    elif not isinstance(known, dict):
        tree[last] = item


def at(tree: Any, *paths: str) -> Any:
    """What stands at the first of the dotted paths that leads somewhere."""
    for path in paths:
        found = tree
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is not None:
            return found
    return None


def items(node: Any) -> Iterator[Tree]:
    """Members of a list, however it is written: [..], {"0": .., "1": ..}, lists in a list, or JSON text of one."""
    if isinstance(node, str):
        node = nested(json_value(node))
    if isinstance(node, dict):
        numbered = [key for key in node if key.isascii() and key.isdigit() and len(key) < 7]
        node = [node[key] for key in sorted(numbered, key=int)]
    for item in node if isinstance(node, list) else ():
        if isinstance(item, dict) and not (item and all(key.isdigit() for key in item)):
            yield item
        else:
            yield from items(item)


def hex_id(value: Any) -> str | None:
    """A trace or span id: hexadecimal in small letters, from hex with or without 0x, or from base64."""
    text = text_of(value)
    if text and text.endswith("=") and len(text) in BASE64_SIZES:
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if len(data) == BASE64_SIZES[len(text)]:
            return data.hex()
    return text.lower().removeprefix("0x") or None if text else None


def trace_id_of(value: Tree) -> str | None:
    """Trace id of a span, a link or a log event."""
    return hex_id(at(value, "context.trace_id", "trace_id", "traceId"))


def span_id_of(value: Tree) -> str | None:
    """Span id of a span, a link or a log event."""
    return hex_id(at(value, "context.span_id", "span_id", "spanId"))


def linked_to(value: Tree) -> str | None:
    """Trace that the span's first link names."""
    links = value.get("links")
    first = links[0] if isinstance(links, list) and links and isinstance(links[0], dict) else {}
    return trace_id_of(first)


def tree_of(value: Tree) -> tuple[Tree, Tree]:
    """(span, its attributes as a tree), from nested or flattened JSON.

    Raises:
        ValueError: there are no attributes.
    """
    if any(key.startswith(("attributes.", "context.")) for key in value):
        value = nested(value)
    attributes = value.get("attributes")
    if not isinstance(attributes, dict):
        raise ValueError("attributes is missing")
    return value, nested(attributes)


def identity(value: Tree) -> Tree:
    """Fields of `Span` that every convention writes alike: ids, times, and the error of a failed call.

    Raises:
        ValueError: the trace id or the start is missing or wrong.
    """
    trace_id = trace_id_of(value)
    if trace_id is None:
        raise ValueError("the trace id is missing")
    failed = "ERROR" in str(at(value, "status_code", "status.code", "status.status_code")).upper()
    told = text_of(at(value, "status_message", "status.description", "status.message")) or "failed"
    parent = hex_id(value.get("parent_id") or value.get("parent_span_id") or value.get("parentSpanId"))
    return {
        "trace_id": trace_id,
        "span_id": span_id_of(value) or content_hash(value),
        "parent_id": parent.strip("0") and parent if parent else None,
        "started": moment(value.get("start_time"), "start_time"),
        "ended": any_moment(value.get("end_time")),
        "error": told if failed else None,
    }
