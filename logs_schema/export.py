"""The joined store as one Parquet file: a row a record, with its contexts, feedback, finding and reviews."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, select

from logs_schema.errors import ConfigurationError, not_written
from logs_schema.files import file_atomic
from logs_schema.records import RagRecord, Value
from logs_schema.rows import FINDING, REVIEW, chunks
from logs_schema.scores import Track
from logs_schema.store import iter_records
from logs_schema.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = 2000
"""Records in one row group, and in memory."""
FINDING_COLUMNS = ("failure", "secondary", "route", "confidence", "why", "mined_at")
REVIEW_COLUMNS = ("reviewer", "decision", "ideal_answer", "failure", "comment", "audit", "reviewed_at")


class ExportReport(Value):
    """What was written."""

    file: str
    records: int
    bytes: int

    def text(self) -> str:
        """One line."""
        size = counted(self.bytes, "byte")
        return f"{self.file}: {counted(self.records, 'record')}, {size}. It holds what your users asked."


def export_parquet(
    engine: Engine,
    file: Path,
    *,
    since: datetime | None = None,
    source: str | None = None,
    track: Track = lambda batches, **_: batches,
) -> ExportReport:
    """Write records to a Parquet file (mode 0600) that appears whole, with a memory use that does not grow.

    Args:
        engine: the store.
        file: its name ends with `.parquet`; an existing one is replaced.
        since: only records that occurred then or later.
        source: only those of one source.
        track: progress, over batches of 2,000 records.

    Raises:
        ConfigurationError: pyarrow is not installed, or the file cannot be written.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ConfigurationError("Parquet needs pyarrow: run pip install 'groundmill[parquet]'.") from error
    if file.suffix != ".parquet":
        raise ConfigurationError(f"{file} does not end with .parquet: name the file so.")
    count = 0
    try:
        with file_atomic(file) as partial, pq.ParquetWriter(partial, _schema(), compression="zstd") as writer:
            for records in track(iter_records(engine, since=since, source=source, batch=GROUP), description="export"):
                writer.write_table(_table(engine, records))
                count += len(records)
    except OSError as error:
        raise not_written(error, file) from error
    return ExportReport(file=str(file), records=count, bytes=file.stat().st_size)


def _table(engine: Engine, records: Sequence[RagRecord]) -> "pa.Table":
    import pyarrow as pa

    ids = [record.record_id for record in records]
    findings: dict[str, Mapping[str, Any]] = {}
    reviews: dict[str, list[dict[str, Any]]] = {}
    with engine.connect() as connection:
        for some in chunks(ids):
            mined = connection.execute(select(FINDING).where(FINDING.c.interaction_id.in_(some))).mappings()
            findings |= {row["interaction_id"]: row for row in mined}
            mine = REVIEW.c.interaction_id.in_(some)
            for row in connection.execute(select(REVIEW).where(mine).order_by(REVIEW.c.reviewed_at)).mappings():
                found = {name: row[name] for name in REVIEW_COLUMNS}
                reviews.setdefault(row["interaction_id"], []).append(found)
    rows = [_row(record, findings.get(record.record_id), reviews.get(record.record_id, [])) for record in records]
    return pa.Table.from_pylist(rows, schema=_schema())


def _row(record: RagRecord, finding: Mapping[str, Any] | None, reviews: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mined = {f"finding_{name}": finding[name] if finding else None for name in FINDING_COLUMNS}
    prompt = {"prompt_hash": record.prompt.hash, "system_prompt": record.prompt.system} if record.prompt else {}
    return {
        **record.model_dump(),
        "record_id": record.record_id,
        "content_hash": record.content_hash,
        **prompt,
        **mined,
        "reviews": reviews,
    }


def _schema() -> "pa.Schema":
    import pyarrow as pa

    text, number, moment = pa.string(), pa.float64(), pa.timestamp("us", tz="UTC")
    texts = pa.list_(text)
    context = {"text": text, "doc_id": text, "title": text, "url": text, "version": text}
    context |= {"updated_at": moment, "groups": texts, "score": number}
    event = {"identifier": text, "kind": text, "value": number, "label": text, "comment": text, "correction": text}
    event |= {"by": text, "occurred_at": moment, "simulated": pa.bool_()}
    review = {**dict.fromkeys(REVIEW_COLUMNS, text), "audit": pa.bool_(), "reviewed_at": moment}
    finding = {"secondary": texts, "confidence": number, "mined_at": moment}
    columns = {
        **dict.fromkeys(("record_id", "content_hash", "source", "source_id"), text),
        "occurred_at": moment,
        "query": text,
        "history": pa.list_(pa.struct({"role": text, "content": text})),
        "contexts": pa.list_(pa.struct(context)),
        **dict.fromkeys(("response", "reference", "system_prompt", "prompt_hash", "prompt_version"), text),
        "prompt": pa.struct(dict.fromkeys(("system", "passage", "joiner", "user"), text)),
        "truncated": pa.bool_(),
        "model": text,
        "latency_ms": number,
        "prompt_tokens": pa.int64(),
        "completion_tokens": pa.int64(),
        **dict.fromkeys(("session_id", "user_id", "error"), text),
        "tags": texts,
        "feedback": pa.list_(pa.struct(event)),
        **{f"finding_{name}": finding.get(name, text) for name in FINDING_COLUMNS},
        "reviews": pa.list_(pa.struct(review)),
    }
    return pa.schema(columns)
