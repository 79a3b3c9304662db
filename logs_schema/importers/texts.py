"""Texts for contexts that were logged by id alone, from a chunk store: rows of doc_id and text."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, func, select

from logs_schema.errors import InputError
from logs_schema.importers.attributes import Tree
from logs_schema.importers.fields import any_moment, reason_of, text_of
from logs_schema.importers.joining import held_spans, join, so_far
from logs_schema.importers.read import BATCH, SAMPLE, Line, batches, expand, read_lines
from logs_schema.importers.rejects import Rejects
from logs_schema.importers.spans import Span, with_text
from logs_schema.pii.replace import Cleaner
from logs_schema.prepared import Prepared
from logs_schema.records import Context, RagRecord, Value, passage_hash
from logs_schema.rows import CONTEXT, INTERACTION, chunks, load
from logs_schema.scores import Track, untracked
from logs_schema.store import save_in, writing
from logs_schema.visible import visible
from logs_schema.wording import counted

ID_NAMES = ("doc_id", "chunk_id", "id", "document_id")
TEXT_NAMES = ("text", "content", "page_content", "chunk", "document")
NO_TEXT = passage_hash("")


class TextsReport(Value):
    """What one file of a chunk store gave."""

    file: str
    read: int
    """Rows."""
    records: int
    """Records of which contexts got a text."""
    contexts: int
    """Contexts that got a text."""
    newer: int
    """Contexts left without: the text was changed after the answer, so the model saw another one."""
    rejected: int

    def text(self) -> str:
        """Plain text for a terminal."""
        to = f"{counted(self.contexts, 'context')} of {counted(self.records, 'record')}"
        line = f"{self.file}: {counted(self.read, 'chunk')} gave a text to {to}"
        if self.newer:
            stay = counted(self.newer, "context stays without, for its", "contexts stay without, for their")
            line += f"; {stay} text was changed after the answer"
        return line + (f"; {counted(self.rejected, 'row')} rejected" if self.rejected else "")


class _Given(NamedTuple):
    """What a batch did, by record and place."""

    contexts: dict[str, int]
    newer: dict[str, int]


def import_texts(
    engine: Engine,
    files: Sequence[str],
    *,
    strict: bool,
    rejects: Path | None,
    clean: Cleaner | None = None,
    track: Track = untracked,
) -> tuple[TextsReport, ...]:
    """Give texts to the stored contexts that have none; of several rows for one id the first counts.

    Args:
        engine: the store.
        files: chunk stores: rows with `doc_id` (or `chunk_id`, `id`) and `text` (or `content`), and perhaps
            `title`, `url`, `version` and `updated_at`.
        strict: stop at the first row that cannot be used.
        rejects: folder for the rows that cannot be used; None only counts them.
        clean: takes personal data out of the texts before they are stored.
        track: progress, over the rows of each file.

    Raises:
        InputError: a file is missing or no chunk store; with `strict`, a row is bad.
    """
    return tuple(_import_file(engine, file, strict, rejects, clean, track) for file in expand(files))


def keep_texts(connection: Connection, records: Sequence[Prepared]) -> list[Prepared]:
    """The records, with the texts that the store already holds for contexts which they bring by id alone."""
    stored = load(connection, [each.record_id for each in records if each.bare])
    return [_with_texts(each, stored[each.record_id]) if each.record_id in stored else each for each in records]


def _with_texts(prepared: Prepared, stored: RagRecord) -> Prepared:
    known = {context.doc_id or "": context for context in stored.contexts if context.text}
    record = prepared.record
    contexts = tuple(with_text(context, known) for context in record.contexts)
    return prepared if contexts == record.contexts else Prepared(record.model_copy(update={"contexts": contexts}))


def _import_file(
    engine: Engine, file: str, strict: bool, folder: Path | None, clean: Cleaner | None, track: Track
) -> TextsReport:
    lines = read_lines(file)
    sample = next(batches(lines, SAMPLE), [])
    _check(sample, file)
    read = 0
    records: set[str] = set()
    contexts = newer = 0
    with Rejects(folder, file, clean) as rejects:
        for some in batches(track(chain(sample, lines), description=visible(file)), BATCH):
            read += len(some)
            parsed = _parse(some, strict, rejects)
            given = {name: clean.value(chunk) for name, chunk in parsed.items()} if clean else parsed
            with writing(engine) as connection:
                done = _give(connection, given)
            records |= done.contexts.keys()
            contexts += sum(done.contexts.values())
            newer += sum(done.newer.values())
    return TextsReport(
        file=visible(file), read=read, records=len(records), contexts=contexts, newer=newer, rejected=rejects.count
    )


def _check(sample: Sequence[Line], file: str) -> None:
    values = [line.value for line in sample if line.value is not None]
    if any(_id_of(value) and _text_of(value) for value in values):
        return
    keys = ", ".join(repr(key[:40]) for key in list(values[0])[:8]) if values else "no JSON object"
    raise InputError(f"{file} is no chunk store: it needs rows with doc_id and text, and its first holds {keys}.")


def _parse(lines: Iterable[Line], strict: bool, rejects: Rejects) -> dict[str, Context]:
    found: dict[str, Context] = {}
    for line in lines:
        reason = line.reason
        if line.value is not None:
            try:
                context = _context(line.value)
                found.setdefault(context.doc_id or "", context)
            except ValidationError as error:
                reason = reason_of(error)
            except ValueError as error:
                reason = str(error)
        if reason and strict:
            raise InputError(f"{rejects.file}, row {line.number}: {reason}. Without --strict it would be set aside.")
        if reason:
            rejects.add(line, reason)
    return found


def _context(value: Tree) -> Context:
    identifier, text = _id_of(value), _text_of(value)
    if identifier is None:
        raise ValueError("doc_id is missing")
    if text is None:
        raise ValueError("text is missing")
    return Context(
        text=text,
        doc_id=identifier,
        title=text_of(value.get("title")),
        url=text_of(value.get("url")),
        version=text_of(value.get("version")),
        updated_at=any_moment(value.get("updated_at")),
    )


def _id_of(value: Tree) -> str | None:
    return next((found for name in ID_NAMES if (found := text_of(value.get(name)))), None)


def _text_of(value: Tree) -> str | None:
    return next((value[name] for name in TEXT_NAMES if isinstance(value.get(name), str) and value[name]), None)


def _give(connection: Connection, given: Mapping[str, Context]) -> _Given:
    """Complete the records and the waiting spans that name these chunks without their text."""
    found = _bare(connection, given)
    done = _Given({}, {})
    for source, traces in sorted(found.items()):
        held = held_spans(connection, source, traces)
        before = load(connection, list(traces.values()))
        spans = [
            _span_filled(span, given, before[traces[trace]].occurred_at)
            for trace, parts in sorted(held.items())
            for span in parts.values()
        ]
        joined = join(connection, source, spans)
        made = {record.record_id: record for record in [*joined.records, *so_far(connection, source, joined.waiting)]}
        filled = {
            identifier: record.model_copy(update={"contexts": _all_filled(record.contexts, given, record.occurred_at)})
            for identifier, record in before.items()
        }
        after = list((filled | made).values())
        save_in(connection, after)
        for record in after:
            _count(before[record.record_id], record, given, done)
    return done


def _bare(connection: Connection, given: Mapping[str, Context]) -> dict[str, dict[str, str]]:
    """Source → trace → record, of the records that name one of the chunks without its text."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for some in chunks(sorted(given)):
        # the index on doc_id must be taken: all contexts without text share one passage hash
        named = (CONTEXT.c.doc_id.in_(some), func.coalesce(CONTEXT.c.passage_hash, "") == NO_TEXT)
        joined = INTERACTION.join(CONTEXT, CONTEXT.c.interaction_id == INTERACTION.c.id)
        query = select(INTERACTION.c.source, INTERACTION.c.source_id, INTERACTION.c.id).select_from(joined)
        for source, trace, identifier in connection.execute(query.where(*named).distinct()):
            found[source][trace] = identifier
    return found


def _count(before: RagRecord, after: RagRecord, given: Mapping[str, Context], done: _Given) -> None:
    texts = sum(bool(c.text) for c in after.contexts) - sum(bool(c.text) for c in before.contexts)
    if texts > 0:
        done.contexts[after.record_id] = texts
    if left := sum(not context.text and context.doc_id in given for context in after.contexts):
        done.newer[after.record_id] = left


def _span_filled(span: Span, given: Mapping[str, Context], answered: datetime) -> Span:
    told = {name: _all_filled(getattr(span, name), given, answered) for name in ("documents", "reranked")}
    return span.model_copy(update=told)


def _all_filled(contexts: Sequence[Context], given: Mapping[str, Context], answered: datetime) -> tuple[Context, ...]:
    """The contexts with their texts, unless a text was changed after the answer: the model saw another one then."""
    seen = {name: c for name, c in given.items() if c.updated_at is None or c.updated_at <= answered}
    return tuple(with_text(context, seen) for context in contexts)
