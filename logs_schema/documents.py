"""The documents feed: which versions of a document existed when, and what the corpus holds now.

The feed is optional. Without it, the versions that logged contexts show are all that is known.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

from pydantic import Field, model_validator
from sqlalchemy import Connection, Engine, exists, func, or_, select, update

from logs_schema.admission import admitted_documents
from logs_schema.clocks import newest_moment
from logs_schema.records import DocumentId, UtcDatetime, Value, passage_hash
from logs_schema.rows import CONTEXT, DOCUMENT, EARLIEST, FINDING, INTERACTION, PASSAGE, chunks, put
from logs_schema.store import SaveCounts
from logs_schema.tables import now
from logs_schema.taxonomy import Failure

SEARCHED_AGAIN = timedelta(days=30)
"""Records no older than this before the newest one are searched again when texts of the corpus change."""
UNANSWERED = (
    Failure.stale_context,
    Failure.missing_abstention,
    Failure.retrieval_miss,
    Failure.knowledge_gap,
    Failure.insufficient_context,
)
"""Findings that another corpus may change."""
STREAMED = 500
"""Rows fetched at a time when all documents are read."""


class Document(Value):
    """One version of a document."""

    doc_id: DocumentId = Field(min_length=1)
    """As the contexts of the logs name it."""
    version: str | None = Field(default=None, min_length=1, max_length=200)
    updated_at: UtcDatetime | None = None
    """When this version came into being; for a withdrawal, when the document was taken down."""
    text: str | None = Field(default=None, min_length=1)
    """The whole text; None when only its hash, or nothing of it, is known."""
    text_hash: str | None = Field(default=None, min_length=1, max_length=128)
    """Made from the text when it is not given."""
    title: str | None = None
    url: str | None = None
    withdrawn: bool = False

    @model_validator(mode="after")
    def _says_which_version(self) -> "Document":
        if self.withdrawn and self.updated_at is None:
            raise ValueError("a withdrawal needs updated_at: when the document was taken down")
        if not (self.version or self.updated_at or self.text or self.text_hash):
            raise ValueError("which version is it? Give version, updated_at, text or text_hash")
        return self

    @property
    def key(self) -> str:
        """Tells the versions of one document apart: by version, else by moment, else by the text's hash."""
        moment = self.updated_at.isoformat() if self.updated_at else ""
        if self.withdrawn:
            return f"withdrawn {moment}"
        if self.version:
            return f"version {self.version}"
        return f"updated {moment}" if moment else f"text {self.text_hash or passage_hash(self.text or '')}"


class Version(NamedTuple):
    """When a version of a document came into being."""

    updated_at: datetime | None
    version: str | None
    withdrawn: bool = False


History = Mapping[str, Sequence[Version]]
"""Document id → its versions, the oldest first; those without a moment come before all others."""


class DocumentText(NamedTuple):
    """A document as the corpus holds it now."""

    doc_id: str
    key: str
    title: str | None
    text: str


# --- writing --------------------------------------------------------------------------------------


def save_documents(connection: Connection, documents: Sequence[Document]) -> SaveCounts:
    """Save versions in the caller's transaction (see `database.writing`); findings that they touch are due again.

    Forgotten documents are left out. A version that is known already takes on what the new line says beyond it; what a
    line leaves out stays. Due for mining again are the records that retrieved one of the changed documents, and, when a
    text changed, those of the last `SEARCHED_AGAIN` whose contexts did not hold the answer.
    """
    told = {(document.doc_id, document.key): document for document in documents}
    kept = admitted_documents(connection, {doc_id for doc_id, _ in told})
    given = {identity: document for identity, document in told.items() if identity[0] in kept}
    stored = _stored(connection, {doc_id for doc_id, _ in given})
    moment = now()
    rows = [
        _merged(document, stored.get(identity), identity[1], moment) for identity, document in sorted(given.items())
    ]
    changed = [row for row in rows if row != stored.get((row["doc_id"], row["key"]))]
    new = [row for row in changed if (row["doc_id"], row["key"]) not in stored]
    put(connection, DOCUMENT, changed, replace=True)
    _mine_again(connection, changed, stored)
    return SaveCounts(
        new=len(new),
        updated=len(changed) - len(new),
        unchanged=len(rows) - len(changed),
        forgotten=len(told) - len(given),
    )


def _stored(connection: Connection, doc_ids: set[str]) -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for some in chunks(sorted(doc_ids)):
        for row in connection.execute(select(DOCUMENT).where(DOCUMENT.c.doc_id.in_(some))).mappings():
            found[row["doc_id"], row["key"]] = dict(row)
    return found


def _merged(document: Document, known: dict[str, Any] | None, key: str, moment: datetime) -> dict[str, Any]:
    told = document.model_dump()
    if told["text"] is not None and told["text_hash"] is None:
        told["text_hash"] = passage_hash(told["text"])
    if known is None:
        return {**told, "key": key, "imported_at": moment}
    merged = {**known, **{name: value for name, value in told.items() if value is not None}}
    if told["text"] is None and merged["text_hash"] != known["text_hash"]:
        merged["text"] = None
    return merged


def _mine_again(
    connection: Connection, changed: Sequence[dict[str, Any]], stored: Mapping[tuple[str, str], dict[str, Any]]
) -> None:
    for some in chunks(sorted({row["doc_id"] for row in changed})):
        retrieved = select(CONTEXT.c.interaction_id).where(CONTEXT.c.doc_id.in_(some))
        connection.execute(update(FINDING).where(FINDING.c.interaction_id.in_(retrieved)).values(miner_version=""))
    texts = {row["text"] for row in changed} - {row["text"] for row in stored.values()} - {None}
    newest = newest_moment(connection)
    if newest and (texts or any(row["withdrawn"] for row in changed)):
        recent = select(INTERACTION.c.id).where(INTERACTION.c.occurred_at >= newest - SEARCHED_AGAIN)
        unanswered = FINDING.c.failure.in_([failure.value for failure in UNANSWERED])
        due = update(FINDING).where(unanswered, FINDING.c.miner_version != "", FINDING.c.interaction_id.in_(recent))
        connection.execute(due.values(miner_version=""))


# --- reading --------------------------------------------------------------------------------------


def histories(engine: Engine) -> dict[str, tuple[Version, ...]]:
    """Versions of every document, from the feed and from contexts that the logs date; the oldest first."""
    seen: dict[str, set[tuple[datetime, Version]]] = defaultdict(set)
    dated = select(CONTEXT.c.doc_id, CONTEXT.c.updated_at, CONTEXT.c.version)
    told = select(*(DOCUMENT.c[name] for name in ("doc_id", "updated_at", "version", "withdrawn", "imported_at")))
    with engine.connect() as connection:
        where = (CONTEXT.c.doc_id.is_not(None), CONTEXT.c.updated_at.is_not(None))
        for doc_id, updated_at, version in connection.execute(dated.where(*where).distinct()):
            seen[doc_id].add((EARLIEST, Version(updated_at, version)))
        for doc_id, updated_at, version, withdrawn, imported_at in connection.execute(told):
            seen[doc_id].add((imported_at, Version(updated_at, version, withdrawn)))
    return {
        doc_id: tuple(dict.fromkeys(version for _, version in sorted(versions, key=_age)))
        for doc_id, versions in sorted(seen.items())
    }


def latest_documents(engine: Engine) -> dict[str, Version]:
    """Newest known version of each document."""
    return {doc_id: versions[-1] for doc_id, versions in histories(engine).items()}


def current_texts(engine: Engine) -> Iterator[DocumentText]:
    """What the corpus holds now: of each document the newest version, unless it was withdrawn or has no text."""
    names = ("doc_id", "key", "updated_at", "version", "withdrawn", "imported_at")
    order = select(*(DOCUMENT.c[name] for name in names)).order_by(DOCUMENT.c.doc_id)
    with engine.connect() as connection:
        rows = connection.execution_options(yield_per=STREAMED).execute(order)
        for some in chunks(_current(rows), STREAMED):
            yield from texts_of(engine, some)


def texts_of(engine: Engine, identities: Sequence[tuple[str, str]]) -> list[DocumentText]:
    """Texts of document versions by (doc_id, key), in the order given; versions without a text are left out."""
    columns = [DOCUMENT.c[name] for name in ("doc_id", "key", "title", "text")]
    found: dict[tuple[str, str], DocumentText] = {}
    with engine.connect() as connection:
        for some in chunks(sorted({doc_id for doc_id, _ in identities})):
            where = (DOCUMENT.c.doc_id.in_(some), DOCUMENT.c.text.is_not(None))
            for row in connection.execute(select(*columns).where(*where)):
                found[row.doc_id, row.key] = DocumentText(*row)
    return [found[identity] for identity in identities if identity in found]


def logged_passages(engine: Engine, most: int) -> Iterator[DocumentText]:
    """Passages that logs show, of documents of which the feed holds no text: the newest logged version of each.

    The `most` that were retrieved most often; their key is the passage's hash. Those with reader groups are left out:
    not everybody who asks may read them.
    """
    told = or_(DOCUMENT.c.text.is_not(None), DOCUMENT.c.withdrawn.is_(True))
    known = exists().where(DOCUMENT.c.doc_id == CONTEXT.c.doc_id, told)
    open_ones = (CONTEXT.c.doc_id.is_not(None), CONTEXT.c.groups.is_(None), ~known)
    newest = (
        select(CONTEXT.c.doc_id, func.max(CONTEXT.c.updated_at).label("newest"))
        .where(*open_ones)
        .group_by(CONTEXT.c.doc_id)
        .subquery()
    )
    query = (
        select(CONTEXT.c.doc_id, CONTEXT.c.passage_hash)
        .join(newest, newest.c.doc_id == CONTEXT.c.doc_id)
        .where(*open_ones, or_(newest.c.newest.is_(None), CONTEXT.c.updated_at == newest.c.newest))
        .group_by(CONTEXT.c.doc_id, CONTEXT.c.passage_hash)
        .order_by(func.count().desc(), CONTEXT.c.passage_hash, CONTEXT.c.doc_id)
        .limit(most)
    )
    with engine.connect() as connection:
        found = [(row[0], row[1]) for row in connection.execute(query)]
    for some in chunks(found, STREAMED):
        yield from logged_texts(engine, some)


def logged_texts(engine: Engine, identities: Sequence[tuple[str, str]]) -> list[DocumentText]:
    """Logged passages by (doc_id, hash), in the order given; those that are gone or empty are left out."""
    found: dict[tuple[str, str], DocumentText] = {}
    columns = (CONTEXT.c.doc_id, CONTEXT.c.passage_hash, func.max(CONTEXT.c.title), PASSAGE.c.text)
    joined = select(*columns).join(PASSAGE, PASSAGE.c.hash == CONTEXT.c.passage_hash)
    with engine.connect() as connection:
        for some in chunks(sorted({key for _, key in identities})):
            where = (CONTEXT.c.passage_hash.in_(some), CONTEXT.c.doc_id.is_not(None), PASSAGE.c.text != "")
            grouped = joined.where(*where).group_by(CONTEXT.c.doc_id, CONTEXT.c.passage_hash, PASSAGE.c.text)
            for row in connection.execute(grouped):
                found[row[0], row[1]] = DocumentText(*row)
    return [found[identity] for identity in identities if identity in found]


def _current(rows: Any) -> Iterator[tuple[str, str]]:
    for doc_id, versions in groupby(rows, key=lambda row: row.doc_id):
        newest = max(versions, key=row_age)
        if not newest.withdrawn:
            yield doc_id, newest.key


def row_age(row: Any) -> tuple[datetime, bool, int, datetime, str]:
    """Orders rows of `document` from the oldest version to the newest."""
    return _age((row.imported_at, Version(row.updated_at, row.version, row.withdrawn)))


def _age(seen: tuple[datetime, Version]) -> tuple[datetime, bool, int, datetime, str]:
    """Moments decide; then a withdrawal comes last, then numeric versions, then the order of import."""
    imported_at, (updated_at, version, withdrawn) = seen
    number = int(version) if version and version.isdecimal() and len(version) < 19 else -1
    return (updated_at or EARLIEST, withdrawn, number, imported_at, version or "")
