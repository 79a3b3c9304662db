"""Cutting a stream of bytes into log lines: JSON lines, a JSON array, or lists within a JSON object.

Nothing is parsed here, so that one broken value costs that value only, and memory is bounded by the limit.
"""

import codecs
import re
from collections.abc import Iterator

from logs_schema.importers.unpack import Damaged

STRUCTURE = re.compile(rb'(["\\{}\[\],])')
SPACE = b" \t\r\n"
LISTS = (
    *(b"results", b"data", b"traces", b"runs", b"spans", b"observations", b"scores", b"records", b"interactions"),
    *(b"items", b"rows", b"samples", b"examples", b"tickets", b"logs"),
)
"""Keys under which an export wraps its list of records."""
SCALAR = rb'(?:"(?:[^"\\]++|\\.)*+"|[-+.\w]+|\{[^{}\[\]]*\}|\[\])'
WRAPPED = re.compile(
    rb'\{\s*(?:"(?!(?:id|trace_id|query|question|input|user_input)")\w+"\s*:\s*' + SCALAR + rb"\s*,\s*){0,20}"
    rb'"(?:' + b"|".join(LISTS) + rb')"\s*:\s*\[\s*[{\]]'
)
"""An object that holds nothing but plain values and then such a list; one with an id or a query is a record."""


def level_of(beginning: bytes) -> int | None:
    """How deep the records lie, by the beginning of a file.

    None for a line each, 0 for objects that follow each other over several lines, 1 for the elements
    of an array, 2 for those of the lists in an object.
    """
    text = beginning.removeprefix(codecs.BOM_UTF8).lstrip(SPACE)
    if text[:1] == b"[":
        return 1
    if WRAPPED.match(text):
        return 2
    first, _, rest = text.partition(b"\n")
    return 0 if first.strip() == b"{" and rest.lstrip()[:1] in {b'"', b"}"} else None


def lines(pieces: Iterator[bytes], limit: int) -> Iterator[tuple[bytes, bool]]:
    """(line, whole?) pairs; of a longer line than the limit only its beginning."""
    held, size = bytearray(), 0
    for piece in pieces:
        first, *others = piece.split(b"\n")
        size += len(first)
        held += first[: max(limit - len(held), 0)]
        if others:
            yield bytes(held), size <= limit
            for line in others[:-1]:
                yield line[:limit], len(line) <= limit
            held, size = bytearray(others[-1][:limit]), len(others[-1])
    yield bytes(held), size <= limit


def values(pieces: Iterator[bytes], limit: int, level: int) -> Iterator[tuple[bytes, bool]]:
    """(value, whole?) pairs of what lies at a level of `level_of`; what an object holds beside lists is left out.

    Raises:
        Damaged: the bytes end within a value.
    """
    value, size, depth, quoted, escaped = bytearray(), 0, 0, False, False
    listed = level < 2
    for piece in pieces:
        for token in filter(None, STRUCTURE.split(piece)):
            kept, ends = depth == 0 or (listed and depth >= level), False
            if escaped:
                escaped = False
            elif quoted:
                escaped, quoted = token == b"\\", token != b'"'
            elif token == b'"':
                quoted = True
            elif token in {b"{", b"["}:
                depth += 1
                if level == 2 and depth == 2:
                    listed = token == b"["
                kept = listed and depth > level
            elif token in {b"}", b"]"}:
                depth = max(depth - 1, 0)
                kept = listed and depth >= level
                ends = depth == max(level - 1, 0)
                listed = level < 2 or (listed and depth > 1)
            elif token == b"," and depth == level and listed:
                kept, ends = False, True
            if kept:
                size += len(token)
                value += token[: max(limit - len(value), 0)]
            if ends:
                yield bytes(value), size <= limit
                value, size = bytearray(), 0
    if depth in {0, level}:
        yield bytes(value), size <= limit
    if depth or quoted:
        raise Damaged("it ends in the middle of a JSON value")
