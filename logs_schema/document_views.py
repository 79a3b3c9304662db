"""Looking at the documents feed: as a list, as a DataFrame, and one document in full."""

from itertools import groupby
from typing import TYPE_CHECKING

from sqlalchemy import Engine, func, select

from logs_schema.documents import STREAMED, Document, row_age
from logs_schema.errors import InputError
from logs_schema.records import UtcDatetime, Value
from logs_schema.rows import CONTEXT, DOCUMENT
from logs_schema.wording import counted

if TYPE_CHECKING:
    import pandas as pd


class DocumentSummary(Value):
    """A document in one line."""

    doc_id: str
    versions: int
    version: str | None
    """Name of the newest version."""
    updated_at: UtcDatetime | None
    withdrawn: bool
    has_text: bool
    title: str | None


class DocumentList(Value):
    """Documents of the feed, by id."""

    documents: tuple[DocumentSummary, ...]
    total: int
    """How many there are without the limit."""

    def text(self) -> str:
        """One line each."""
        if not self.total:
            return "No documents were imported. `factory documents import FILE` takes in your corpus."
        lines = [f"{d.doc_id}  {_told(d)}, {counted(d.versions, 'version')}" for d in self.documents]
        return "\n".join([*lines, "", f"{len(self.documents):,} of {counted(self.total, 'document')}."])


class DocumentView(Value):
    """A document with all its versions, the oldest first."""

    doc_id: str
    versions: tuple[Document, ...]
    retrieved: int
    """Contexts of the logs that come from it."""

    def text(self) -> str:
        """One line a version, and the newest text."""
        lines = [f"{self.doc_id}: retrieved {self.retrieved:,} times"]
        for version in self.versions:
            size = f"{len(version.text):,} characters" if version.text else "no text"
            told = (version.title, version.url, f"text hash {version.text_hash}" if version.text_hash else None)
            state = "withdrawn" if version.withdrawn else size
            lines.append(f"  {_when(version)} · {' · '.join(part for part in (state, *told) if part)}")
        newest = self.versions[-1]
        return "\n".join([*lines, "", newest.text] if newest.text else lines)


def list_documents(engine: Engine, *, limit: int | None = None, withdrawn: bool = False) -> DocumentList:
    """Documents of the feed, by id; only those taken down with `withdrawn`."""
    columns = [DOCUMENT.c[name] for name in DOCUMENT.c.keys() if name != "text"]  # noqa: SIM118
    query = select(*columns, DOCUMENT.c.text.is_not(None).label("has_text")).order_by(DOCUMENT.c.doc_id)
    found: list[DocumentSummary] = []
    total = 0
    with engine.connect() as connection:
        rows = connection.execution_options(yield_per=STREAMED).execute(query)
        for doc_id, group in groupby(rows, key=lambda row: str(row.doc_id)):
            versions = sorted(group, key=row_age)
            newest = versions[-1]
            if withdrawn and not newest.withdrawn:
                continue
            total += 1
            if limit is None or total <= limit:
                same = {name: getattr(newest, name) for name in ("version", "updated_at", "withdrawn", "title")}
                found.append(
                    DocumentSummary(
                        doc_id=doc_id, versions=len(versions), has_text=newest.has_text and not newest.withdrawn, **same
                    )
                )
    return DocumentList(documents=tuple(found), total=total)


def documents_frame(engine: Engine) -> "pd.DataFrame":
    """The same as a DataFrame: the columns of DocumentSummary."""
    import pandas as pd

    rows = [summary.model_dump() for summary in list_documents(engine).documents]
    return pd.DataFrame(rows, columns=list(DocumentSummary.model_fields))


def load_document(engine: Engine, doc_id: str) -> DocumentView:
    """A document with its versions.

    Raises:
        InputError: the feed does not hold it.
    """
    with engine.connect() as connection:
        rows = connection.execute(select(DOCUMENT).where(DOCUMENT.c.doc_id == doc_id)).all()
        retrieved = connection.scalar(select(func.count()).where(CONTEXT.c.doc_id == doc_id)) or 0
    if not rows:
        raise InputError(f"The documents feed holds no {doc_id!r}: see `factory documents list`.")
    versions = tuple(
        Document(**{name: getattr(row, name) for name in Document.model_fields}) for row in sorted(rows, key=row_age)
    )
    return DocumentView(doc_id=doc_id, versions=versions, retrieved=retrieved)


def _told(summary: DocumentSummary) -> str:
    state = "withdrawn" if summary.withdrawn else "with text" if summary.has_text else "without text"
    return f"{_when(summary)}, {state}"


def _when(version: DocumentSummary | Document) -> str:
    named = f"version {version.version}" if version.version else None
    dated = f"{version.updated_at:%Y-%m-%d %H:%M} UTC" if version.updated_at else None
    return " · ".join(part for part in (named, dated) if part) or "undated"
