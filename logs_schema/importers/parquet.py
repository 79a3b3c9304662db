"""Rows of a Parquet file as the objects that JSON lines would hold."""

import math
from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any
from uuid import UUID

from logs_schema.errors import ConfigurationError, InputError
from logs_schema.importers.unpack import Damaged, refuse_bomb

if TYPE_CHECKING:
    from pyarrow import RecordBatch

BATCH = 64
"""Rows decoded at a time: a dictionary makes them large however small the file is."""
GROUP_LIMIT = 4 << 30
"""Bytes of one row group at the most, unpacked."""


def rows(file: str, stream: IO[bytes], size: int) -> Iterator[tuple[dict[str, Any] | None, str]]:
    """(row, "") or (None, reason) pairs, in order; empty cells are left out.

    Args:
        file: its name, for messages.
        stream: the file; it can be sought.
        size: its bytes.

    Raises:
        ConfigurationError: pyarrow is not installed.
        InputError: it is no Parquet file.
        Damaged: the rest cannot be read.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigurationError(
            f"Reading {file}, a Parquet file, needs: pip install 'groundmill[parquet]'."
        ) from error
    broken = (pyarrow.ArrowException, OSError, ValueError, NotImplementedError)
    try:
        table = parquet.ParquetFile(stream, pre_buffer=False)
    except broken as error:
        raise InputError(f"{file} is a damaged Parquet file: {_first_line(error)}.") from error
    unpacked = 0
    for group in range(table.num_row_groups):
        _refuse_large(table.metadata.row_group(group), size)
        batches = table.iter_batches(batch_size=BATCH, row_groups=[group], use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except broken as error:
                raise Damaged(_first_line(error)) from error
            if batch is None:
                break
            yield from _rows(batch, broken)
            unpacked += batch.nbytes
            refuse_bomb(unpacked, size)


def _refuse_large(group: Any, size: int) -> None:
    if group.total_byte_size > GROUP_LIMIT:
        raise Damaged(f"a row group unpacks to more than {GROUP_LIMIT >> 30} GiB")
    refuse_bomb(group.total_byte_size, size)


def _rows(batch: "RecordBatch", broken: tuple[type[Exception], ...]) -> Iterator[tuple[dict[str, Any] | None, str]]:
    broken = (*broken, OverflowError)
    found: list[dict[str, Any]] | None = None
    with suppress(*broken):
        found = batch.to_pylist(maps_as_pydicts="lossy")
    for at in range(batch.num_rows):
        try:
            row = found[at] if found is not None else batch.slice(at, 1).to_pylist(maps_as_pydicts="lossy")[0]
            yield _plain(row), ""
        except broken as error:
            yield None, f"a value cannot be read: {_first_line(error)}"


def _plain(value: Any) -> Any:
    """The value as JSON would hold it; an empty cell, NaN among them, is left out."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items() if not _empty(inner)}
    if isinstance(value, list):
        return [None if _empty(inner) else _plain(inner) for inner in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | Decimal):
        number = float(value)
        if math.isinf(number):
            raise ValueError("Infinity is not a number")
        return number
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, UUID):
        return str(value)
    raise ValueError(f"{type(value).__name__} is not known")


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
