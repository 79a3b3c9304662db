"""Reading log files: JSON lines, JSON documents or Parquet; plain, gzip or Zstandard; files, folders or stdin.

Memory is bounded by the line limit however large a file is. What cannot be read comes out as a
line with a reason instead of a value, and what stood before it is kept.
"""

import glob
import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from logs_schema.errors import InputError
from logs_schema.importers import parquet
from logs_schema.importers.fields import DEPTH_LIMIT, check, no_constant
from logs_schema.importers.split import level_of, lines, values
from logs_schema.importers.unpack import PIECE, STDIN, Damaged, Opened, opened

__all__ = ["STDIN", "Line", "batches", "expand", "read_lines"]

LINE_LIMIT = 16 * 1024 * 1024
"""Bytes of one log line at the most."""
BATCH = 500
"""Lines in one transaction at the most …"""
BATCH_BYTES = 8 * 1024 * 1024
"""… which ends when they are about as large as this together."""
SAMPLE = 50
"""Lines by which a file is recognised."""
EXCERPT = 2000
"""Characters of a rejected line that are kept."""
ENDINGS = (".json", ".jsonl", ".ndjson", ".parquet")
"""What a file of a folder is called, when it is to be read; .gz or .zst may follow."""
REJECTS = ".rejects.jsonl"

ZEROS = bytes.maketrans(b"123456789", b"000000000")
LONG_NUMBER = b"0" * 19
"""After `ZEROS`: what may be a whole number of more than 64 bits, which orjson reads as a float."""
SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")


class Line(NamedTuple):
    """One log line: its value, or the reason why it has none; before `valued`, perhaps only its bytes."""

    number: int
    """Line in the file; in a JSON document or a Parquet file, the number of the record. All from 1."""
    value: dict[str, Any] | None
    reason: str | None
    text: str
    """Beginning of the line where there is no `data`; see `excerpt`."""
    size: int = 0
    """Bytes of the line, as far as it was read."""
    data: bytes = b""
    """The line itself; empty when it has no bytes of its own, as a row of a Parquet file, or no value."""

    @property
    def excerpt(self) -> str:
        """Its beginning, for people."""
        return self.text or _beginning(self.data)


def expand(files: Sequence[str]) -> list[str]:
    """Files behind names, folders and glob patterns, checked to be there.

    Of a folder, whatever lies in it or below with one of `ENDINGS`, sorted; hidden files and
    rejects are not read. Empty files are left out where they were not named themselves.

    Raises:
        InputError: with every name that leads to no readable, non-empty file.
    """
    found: list[str] = []
    wrong: list[str] = []
    for name in files:
        path = Path(name)
        if name == STDIN:
            found.append(name)
        elif path.is_dir():
            inside = _inside(path)
            found += inside
            if not inside:
                wrong.append(f"the folder {name} holds no log files ({', '.join(ENDINGS)}, also .gz and .zst)")
        elif path.exists():
            if path.is_file() and path.stat().st_size == 0:
                wrong.append(f"{name} is empty")
            found.append(name)
        elif glob.has_magic(name):
            # Path.glob refuses absolute patterns
            matched = sorted(match for match in glob.glob(name, recursive=True) if _filled(Path(match)))  # noqa: PTH207
            found += matched
            if not matched:
                wrong.append(f"no file matches {name}")
        else:
            wrong.append(f"there is no file {name}")
    if wrong:
        raise InputError("; ".join(wrong) + ".")
    return list(dict.fromkeys(found))


def _inside(folder: Path) -> list[str]:
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            bare = name.lower().removesuffix(".gz").removesuffix(".zst")
            if bare.endswith(ENDINGS) and not bare.endswith(REJECTS) and not name.startswith((".", "_")):
                found.append(Path(place, name))
    return sorted(str(path) for path in found if _filled(path))


def _filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def batches(lines: Iterable[Line], count: int, size: int = BATCH_BYTES) -> Iterator[list[Line]]:
    """Lists of at most `count` lines that are not much larger than `size` bytes together."""
    held: list[Line] = []
    weight = 0
    for line in lines:
        held.append(line)
        weight += line.size
        if len(held) == count or weight >= size:
            yield held
            held, weight = [], 0
    if held:
        yield held


def read_lines(file: str, *, limit: int = LINE_LIMIT) -> Iterator[Line]:
    """Every record of a log file (`-` is stdin), blank lines left out.

    Raises:
        InputError: the file cannot be read, or is no log.
        ConfigurationError: it is a Parquet file and pyarrow is not installed.
    """
    return map(valued, raw_lines(file, limit=limit))


def raw_lines(file: str, *, limit: int = LINE_LIMIT) -> Iterator[Line]:
    """As `read_lines`; of lines that hold JSON only the bytes, of which `valued` makes the value."""
    with opened(file) as source:
        yield from _rows(file, source, limit) if source.parquet else _texts(file, source.pieces, limit)


def _texts(file: str, pieces: Iterator[bytes], limit: int) -> Iterator[Line]:
    read: list[bytes] = []
    damage: Damaged | None = None
    try:
        while sum(map(len, read)) < PIECE and (piece := next(pieces, b"")):
            read.append(piece)
    except Damaged as error:
        damage = error
    beginning = b"".join(read)
    if damage and not beginning:
        raise InputError(f"{file} cannot be read: {damage}.")
    if b"\0" in beginning and beginning.lstrip()[:1] not in {b"{", b"["}:
        raise InputError(f"{file} is a binary file: logs are JSON in UTF-8 (plain, gzip, zstd) or Parquet.")
    level = level_of(beginning)
    whole = _resumed(read, damage, pieces)
    number = 0
    try:
        for data, complete in lines(whole, limit) if level is None else values(whole, limit, level):
            number += 1 if level is None or data.strip() else 0
            if data.strip():
                reason = None if complete else f"longer than {limit:,} bytes"
                yield Line(number, None, reason, _beginning(data) if reason else "", len(data), b"" if reason else data)
    except Damaged as error:
        yield Line(number + 1, None, f"the file cannot be read from here on: {error}", "")


def _resumed(read: list[bytes], damage: Damaged | None, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from read
    if damage:
        raise damage
    yield from pieces


def _rows(file: str, source: Opened, limit: int) -> Iterator[Line]:
    number = 0
    with ExitStack() as closing:
        try:
            stream = source.stream
            if file == STDIN:
                # Parquet is read from its end, which a pipe does not have
                stream = closing.enter_context(tempfile.TemporaryFile())
                stream.writelines(source.pieces)
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            for number, (value, reason) in enumerate(parquet.rows(file, stream, size), start=1):
                yield _row(number, value, reason, limit)
        except Damaged as error:
            yield Line(number + 1, None, f"the file cannot be read from here on: {error}", "")


def _row(number: int, value: dict[str, Any] | None, reason: str, limit: int) -> Line:
    if value is None:
        return Line(number, None, reason, "")
    try:
        check(value)
    except ValueError as error:
        reason = str(error)
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > limit:
        reason = f"longer than {limit:,} characters"
    return Line(number, None if reason else value, reason or None, text[:EXCERPT], len(text))


def _value(data: bytes) -> Any:
    """JSON from bytes: by orjson, and what that refuses or reads inexactly by the standard library."""
    if LONG_NUMBER not in data.translate(ZEROS):  # a regular expression takes ten times as long
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(data)
    return json.loads(data.decode("utf-8-sig"), parse_constant=no_constant)


def valued(line: Line) -> Line:
    """The line with its value, or the reason why it has none."""
    if line.value is not None or line.reason is not None:
        return line
    data = line.data
    try:
        value = _value(data)
        if not isinstance(value, dict):
            return _refused(line, "not a JSON object")
        if data.count(b"{") + data.count(b"[") > DEPTH_LIMIT or (b"\\u" in data and SUSPICIOUS.search(data)):
            check(value)
    except UnicodeDecodeError as error:
        return _refused(line, f"not UTF-8 at byte {error.start}")
    except json.JSONDecodeError as error:
        return _refused(line, f"not JSON: {error.msg} at character {error.pos}")
    except RecursionError:
        return _refused(line, f"nested deeper than {DEPTH_LIMIT}")
    except ValueError as error:
        return _refused(line, str(error))
    return Line(line.number, value, None, line.text, line.size, data)


def _refused(line: Line, reason: str) -> Line:
    return Line(line.number, None, reason, _beginning(line.data))


def _beginning(data: bytes) -> str:
    return data[: EXCERPT * 4].decode("utf-8", "replace").strip()[:EXCERPT]
