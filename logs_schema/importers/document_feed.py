"""Document files: which versions the corpus holds or held, with their texts or hashes, and what was withdrawn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from logs_schema.documents import Document, save_documents
from logs_schema.importers.feeds import Saved, folded, import_feed, pick
from logs_schema.importers.fields import moment, text_of
from logs_schema.importers.read import Line
from logs_schema.importers.reports import FeedReport
from logs_schema.pii.replace import Cleaner
from logs_schema.scores import Track, untracked

NAMES: dict[str, tuple[str, ...]] = {
    "doc_id": ("doc_id", "document_id", "id"),
    "version": ("version", "revision"),
    "updated_at": ("updated_at", "last_modified", "modified_at", "timestamp"),
    "text": ("text", "content", "body", "page_content"),
    "text_hash": ("text_hash", "content_hash", "hash", "sha256", "checksum"),
    "title": ("title",),
    "url": ("url", "link"),
    "withdrawn": ("withdrawn", "deleted", "removed"),
}
"""Field → names under which it may come, in `feeds.folded` form."""
ANOTHER_TEXT = (
    "stands above with another text: give one row a document and version, with its whole text "
    "(chunks are not documents)"
)


def import_documents(
    engine: Engine,
    files: Sequence[str],
    *,
    format: str = "auto",
    strict: bool = False,
    rejects: Path | None = None,
    clean: Cleaner | None = None,
    track: Track = untracked,
) -> FeedReport:
    """Import document files (JSON lines, CSV or Parquet); see docs/documents.md for their fields.

    Args:
        engine: the store.
        files: names, folders, patterns, `-` for stdin.
        format: one of `csv_rows.FORMATS`.
        strict: stop at the first row that cannot be used.
        rejects: folder for the rows that cannot be used; None only counts them.
        clean: takes personal data out of the texts before they are stored (see `pii.replace.cleaner`).
        track: progress, over the rows of each file.

    Raises:
        InputError: a file is missing, empty or of no known format; with `strict`, a row is bad.
        ConfigurationError: format or rejects folder cannot be used.
    """
    return import_feed(
        engine,
        files,
        what="document versions",
        format=format,
        parse=lambda row: clean.value(parse(row)) if clean else parse(row),
        save=_save,
        strict=strict,
        rejects=rejects,
        clean=clean,
        track=track,
    )


def parse(row: dict[str, Any]) -> Document:
    """One row.

    Raises:
        ValueError: with the reason (pydantic's ValidationError is one).
    """
    row = folded(row)
    given = {field: pick(row, names) for field, names in NAMES.items()}
    if text_of(given["doc_id"]) is None:
        raise ValueError("doc_id is missing")
    dated = given["updated_at"] is not None
    return Document.model_validate(
        {
            **given,
            "doc_id": text_of(given["doc_id"]),
            "version": text_of(given["version"]),
            "updated_at": moment(given["updated_at"], "updated_at") if dated else None,
            "withdrawn": given["withdrawn"] or False,
        }
    )


def _save(connection: Connection, rows: Sequence[tuple[Line, Document]]) -> Saved:
    texts: dict[tuple[str, str], str] = {}
    documents, refused = [], []
    for line, document in rows:
        identity = document.doc_id, document.key
        if document.text is not None and texts.setdefault(identity, document.text) != document.text:
            refused.append((line, f"{document.doc_id} {document.key} {ANOTHER_TEXT}"))
        else:
            documents.append(document)
    return Saved(save_documents(connection, documents), refused)
