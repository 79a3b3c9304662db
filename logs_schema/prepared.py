"""A record made ready for the store, wherever there is time for it: its hash, and its rows as the driver takes them."""

import pickle
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import Dialect

from logs_schema.records import Context, Feedback, RagRecord, Trace, passage_hash
from logs_schema.rows import CONTEXT, INTERACTION, converted, stored

Row = tuple[Any, ...]

SAME_COLUMNS = (
    *("source", "source_id", "occurred_at", "query", "response", "prompt_version", "truncated", "model", "reference"),
    *("latency_ms", "prompt_tokens", "completion_tokens", "session_id", "user_id", "error"),
)
"""Fields of RagRecord that are columns of the same name and type."""
INTERACTION_COLUMNS = (*SAME_COLUMNS, "id", "content_hash", "history", "prompt_hash", "tags")
"""All but those that only the writer knows: `line_hash` and `imported_at`."""
SAME_OF_CONTEXT = ("doc_id", "title", "url", "version", "updated_at", "score")
CONTEXT_COLUMNS = ("interaction_id", "rank", "passage_hash", *SAME_OF_CONTEXT, "groups")
PASSAGE_COLUMNS = ("hash", "text")
_same_columns = attrgetter(*SAME_COLUMNS)
_same_of_context = attrgetter(*SAME_OF_CONTEXT)


class Rows(NamedTuple):
    """The rows of one record."""

    interaction: Row
    contexts: Sequence[Row]
    passages: Sequence[tuple[str, str]]
    """(hash, text) of each context; a text may be there twice."""
    prompts: Sequence[dict[str, Any]]
    """Of its prompt template, when it has one; not converted."""


class Prepared:
    """A record with its content hash, and its rows once `rows_of` has made them.

    What comes from another process of this program is the rows; the record is unpacked when somebody asks for it.
    """

    __slots__ = ("_packed", "_record", "bare", "content_hash", "feedback", "record_id", "rows", "trace")

    def __init__(self, record: RagRecord) -> None:
        """Take the hash; there are no rows yet."""
        self._record: RagRecord | None = record
        self._packed = b""
        self.trace = Trace(record.source, record.source_id)
        self.record_id = record.record_id
        self.feedback = record.feedback
        self.bare = any(not context.text and context.doc_id for context in record.contexts)
        """Whether a context came by its id alone."""
        self.content_hash = record.content_hash
        self.rows: Rows | None = None

    @property
    def record(self) -> RagRecord:
        """The record itself."""
        if self._record is None:
            values = pickle.loads(self._packed)
            contexts = tuple(stored(Context, each) for each in values["contexts"])
            self._record = stored(RagRecord, {**values, "contexts": contexts})
        return self._record

    def with_feedback(self, feedback: tuple[Feedback, ...]) -> "Prepared":
        """The same with other feedback."""
        if self.feedback == feedback:
            return self
        return Prepared(self.record.model_copy(update={"feedback": feedback}))

    def __getstate__(self) -> Row:
        """For another process: the record as plain values, a fifth of the work, and packed, for few are asked for."""
        values = {**self.record.__dict__, "contexts": [context.__dict__ for context in self.record.contexts]}
        packed = pickle.dumps(values, pickle.HIGHEST_PROTOCOL)
        return packed, self.trace, self.record_id, self.feedback, self.bare, self.content_hash, self.rows

    def __setstate__(self, state: Row) -> None:
        """In another process."""
        self._record = None
        self._packed, self.trace, self.record_id, self.feedback, self.bare, self.content_hash, self.rows = state


def rows_of(dialect: Dialect, records: Sequence[Prepared]) -> list[Rows]:
    """The rows of the records, made for those that have none."""
    bare = [each for each in records if each.rows is None]
    if bare:
        interactions = [interaction_row(each.record, each.content_hash) for each in bare]
        passages = [[(passage_hash(context.text), context.text) for context in each.record.contexts] for each in bare]
        links = [link for each, found in zip(bare, passages, strict=True) for link in context_rows(each.record, found)]
        whole = converted(dialect, INTERACTION, INTERACTION_COLUMNS, interactions)
        contexts = iter(converted(dialect, CONTEXT, CONTEXT_COLUMNS, links))
        for each, row, found in zip(bare, whole, passages, strict=True):
            prompt = each.record.prompt
            prompts = [{"hash": prompt.hash, "template": prompt.model_dump(mode="json")}] if prompt else []
            each.rows = Rows(row, list(islice(contexts, len(found))), found, prompts)
    return [each.rows for each in records if each.rows]


def interaction_row(record: RagRecord, content_hash: str) -> Row:
    """Row of `interaction`, of `INTERACTION_COLUMNS`."""
    return (
        *_same_columns(record),
        record.record_id,
        content_hash,
        [message.model_dump() for message in record.history] or None,
        record.prompt.hash if record.prompt else None,
        list(record.tags) or None,
    )


def context_rows(record: RagRecord, passages: Sequence[tuple[str, str]]) -> Iterator[Row]:
    """Rows of `context`, of `CONTEXT_COLUMNS`, by rank; `passages` gives (hash, text) of each."""
    identifier = record.record_id
    for rank, (context, (passage, _)) in enumerate(zip(record.contexts, passages, strict=True)):
        groups = None if context.groups is None else list(context.groups)
        yield (identifier, rank, passage, *_same_of_context(context), groups)
