"""Reading log files: JSON lines, a JSON array or one object, plain or gzip, a file or stdin.

Memory is bounded by the line limit however large a file is. What cannot be read comes out as a
line with a reason instead of a value.
"""

import codecs
import glob
import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from logs_schema.errors import InputError

LINE_LIMIT = 16 * 1024 * 1024
"""Bytes of one log line at the most."""
DEPTH_LIMIT = 64
"""Brackets within brackets at the most."""
EXCERPT = 2000
"""Characters of a rejected line that are kept."""
PIECE = 1 << 16
STDIN = "-"

SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
STRUCTURE = re.compile(rb'(["\\{}\[\],])')


class Line(NamedTuple):
    """One log line: its value, or the reason why it has none."""

    number: int
    """Line in the file; in a JSON array, the number of the element. Both from 1."""
    value: dict[str, Any] | None
    reason: str | None
    text: str
    """Beginning of the line, for the rejects file."""


def expand(files: Sequence[str]) -> list[str]:
    """Files behind names and glob patterns, checked to be there.

    Raises:
        InputError: with every name that is no readable, non-empty file.
    """
    found: list[str] = []
    wrong: list[str] = []
    for name in files:
        path = Path(name)
        if name == STDIN:
            found.append(name)
        elif path.is_dir():
            wrong.append(f"{name} is a folder: name its files, such as {name.rstrip('/')}/*.jsonl")
        elif path.exists():
            if path.is_file() and path.stat().st_size == 0:
                wrong.append(f"{name} is empty")
            found.append(name)
        elif glob.has_magic(name):
            # Path.glob refuses absolute patterns
            matched = sorted(match for match in glob.glob(name, recursive=True) if Path(match).is_file())  # noqa: PTH207
            found += matched
            if not matched:
                wrong.append(f"no file matches {name}")
        else:
            wrong.append(f"there is no file {name}")
    if wrong:
        raise InputError("; ".join(wrong) + ".")
    return list(dict.fromkeys(found))


def read_lines(file: str, *, limit: int = LINE_LIMIT) -> Iterator[Line]:
    """Every line of a log file (`-` is stdin), blank ones left out.

    Raises:
        InputError: the file cannot be read, or is not text.
    """
    with _opened(file) as stream:
        try:
            beginning = stream.peek(PIECE)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{file} cannot be read: {error}.") from error
        if b"\0" in beginning:
            raise InputError(f"{file} is a binary file: logs are JSON lines in UTF-8, plain or gzip.")
        split = _values if _is_document(beginning) else _lines
        number = 0
        try:
            for data, whole in split(stream, limit):
                number += 1 if data.strip() or split is _lines else 0
                if data.strip():
                    yield _parsed(number, data, whole, limit)
        except (EOFError, zlib.error, OSError) as error:
            yield Line(number + 1, None, f"the file cannot be read from here on: {error}", "")


@contextmanager
def _opened(file: str) -> Iterator[io.BufferedReader]:
    """The file's bytes, decompressed when they begin like gzip."""
    try:
        raw = io.BufferedReader(cast(Any, sys.stdin.buffer)) if file == STDIN else Path(file).open("rb")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error
    try:
        if raw.peek(2)[:2] == b"\x1f\x8b":
            yield io.BufferedReader(cast(Any, gzip.GzipFile(fileobj=cast(BinaryIO, raw))), PIECE)
        else:
            yield raw
    finally:
        if file == STDIN:
            raw.detach()
        else:
            raw.close()


def _is_document(beginning: bytes) -> bool:
    """True for a JSON array, or an object that goes over several lines."""
    text = beginning.removeprefix(codecs.BOM_UTF8).lstrip()
    first, _, rest = text.partition(b"\n")
    return text[:1] == b"[" or (first.strip() == b"{" and rest.lstrip()[:1] in {b'"', b"}"})


def _lines(stream: io.BufferedReader, limit: int) -> Iterator[tuple[bytes, bool]]:
    """(line, whole?) pairs; of a longer line than the limit only its beginning."""
    while data := stream.readline(limit + 1):
        ended = data.endswith(b"\n")
        whole = ended or len(data) <= limit
        while not ended and (more := stream.readline(PIECE)):
            ended = more.endswith(b"\n")
        yield data, whole


def _values(stream: io.BufferedReader, limit: int) -> Iterator[tuple[bytes, bool]]:
    """(value, whole?) pairs: the elements of a JSON array, or objects that follow each other."""
    base = 1 if stream.peek(PIECE).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"[" else 0
    value, size, depth, quoted, escaped = bytearray(), 0, 0, False, False
    while piece := stream.read1(PIECE):
        for token in filter(None, STRUCTURE.split(piece)):
            kept, ends = True, False
            if escaped:
                escaped = False
            elif quoted:
                escaped, quoted = token == b"\\", token != b'"'
            elif token == b'"':
                quoted = True
            elif token in {b"{", b"["}:
                depth += 1
                kept = depth > base or token == b"{"
            elif token in {b"}", b"]"}:
                depth -= 1
                kept = depth >= base
                ends = depth == 0
            elif token == b"," and depth == base:
                kept, ends = False, True
            if kept:
                size += len(token)
                value += token if size <= limit else b""
            if ends:
                yield bytes(value), size <= limit
                value, size = bytearray(), 0
    yield bytes(value), size <= limit


def _parsed(number: int, data: bytes, whole: bool, limit: int) -> Line:
    excerpt = data[: EXCERPT * 4].decode("utf-8", "replace").strip()[:EXCERPT]
    if not whole:
        return Line(number, None, f"longer than {limit:,} bytes", excerpt)
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
        if not isinstance(value, dict):
            return Line(number, None, "not a JSON object", excerpt)
        if data.count(b"{") + data.count(b"[") > DEPTH_LIMIT or SUSPICIOUS.search(data):
            check_value(value)
    except UnicodeDecodeError as error:
        return Line(number, None, f"not UTF-8 at byte {error.start}", excerpt)
    except json.JSONDecodeError as error:
        return Line(number, None, f"not JSON: {error.msg} at character {error.pos}", excerpt)
    except RecursionError:
        return Line(number, None, f"nested deeper than {DEPTH_LIMIT}", excerpt)
    except ValueError as error:
        return Line(number, None, str(error), excerpt)
    return Line(number, value, None, excerpt)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def check_value(value: object, depth: int = DEPTH_LIMIT) -> None:
    """Refuse what no database stores: NUL, half a surrogate pair, endless nesting.

    Raises:
        ValueError: with what was found.
    """
    if depth < 0:
        raise ValueError(f"nested deeper than {DEPTH_LIMIT}")
    if isinstance(value, dict):
        for key, inner in value.items():
            check_value(key, depth)
            check_value(inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            check_value(inner, depth - 1)
    elif isinstance(value, str):
        if "\0" in value:
            raise ValueError("holds a NUL character")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("holds half of a surrogate pair")
