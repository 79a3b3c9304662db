"""Rows of CSV files as log lines: a header names the fields, an empty cell is a field that was not given."""

import codecs
import csv
import json
from collections.abc import Iterator
from itertools import chain

from logs_schema.errors import InputError
from logs_schema.importers.fields import check
from logs_schema.importers.read import EXCERPT, LINE_LIMIT, STDIN, Line, read_lines
from logs_schema.importers.split import lines
from logs_schema.importers.unpack import Damaged, opened

DELIMITERS = ",;\t|"
FORMATS = ("auto", "jsonl", "csv", "parquet")


def read_rows(file: str, format: str = "auto") -> Iterator[Line]:
    """Every record of a JSON lines, Parquet or CSV file (`-` is standard input).

    Args:
        file: its name.
        format: one of `FORMATS`; `auto` looks at the beginning of the file, and takes standard input for JSON lines.

    Raises:
        InputError: the file cannot be read, or is none of these.
        ConfigurationError: it is a Parquet file and pyarrow is not installed.
    """
    is_csv = format == "csv" or (format == "auto" and file != STDIN and _looks_csv(file))
    yield from _rows(file) if is_csv else read_lines(file)


def _looks_csv(file: str) -> bool:
    with opened(file) as source:
        if source.parquet:
            return False
        try:
            beginning = next(source.pieces, b"")
        except Damaged:
            return False
    return beginning.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in {b"{", b"[", b""} and b"\0" not in beginning


def _rows(file: str) -> Iterator[Line]:
    csv.field_size_limit(LINE_LIMIT)  # the default, 128 KiB, is less than many documents; it is one for the process
    with opened(file) as source:
        if source.parquet:
            raise InputError(f"{file} is a Parquet file, not CSV.")
        texts = _texts(source.pieces)
        number = 1
        try:
            head = next(texts, "")
            delimiter = max(DELIMITERS, key=head.count)
            reader = csv.reader(chain([head], texts), delimiter=delimiter, strict=True)
            names = _header(file, reader)
            while True:
                try:
                    cells = next(reader)
                    number = reader.line_num
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Line(reader.line_num, None, f"not CSV: {error}", "")
                    continue
                if any(cell.strip() for cell in cells):
                    yield _line(number, names, cells)
        except Damaged as error:
            yield Line(number + 1, None, f"the file cannot be read from here on: {error}", "")


def _header(file: str, reader: Iterator[list[str]]) -> list[str]:
    try:
        names = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise InputError(f"{file} is not CSV: its first line cannot be read ({error}).") from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if not all(names) or twice:
        seen = f"{twice[0][:40]!r} twice" if twice else "a column without a name"
        raise InputError(f"{file} is not a CSV file with a header: its first line holds {seen}.")
    return names


def _line(number: int, names: list[str], cells: list[str]) -> Line:
    text = json.dumps(cells, ensure_ascii=False)[:EXCERPT].encode("utf-8", "replace").decode()
    if len(cells) != len(names):
        return Line(number, None, f"{len(cells)} cells under {len(names)} column names", text)
    value = {name: cell for name, cell in zip(names, cells, strict=True) if cell.strip()}
    try:
        check(value)
    except ValueError as error:
        # bytes that are not UTF-8 were read as surrogates
        return Line(number, None, f"{error}, or is not UTF-8", text)
    return Line(number, value, None, text, sum(map(len, cells)))


def _texts(pieces: Iterator[bytes]) -> Iterator[str]:
    """Lines with their endings; of a line longer than the limit only the beginning, which no row survives."""
    for number, (line, _) in enumerate(lines(pieces, LINE_LIMIT)):
        text = line.removeprefix(codecs.BOM_UTF8) if number == 0 else line
        yield text.decode("utf-8", "surrogateescape") + "\n"
