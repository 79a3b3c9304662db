"""The other route: what the RAG team can mend, grouped by document or topic, the most worthwhile first."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from statistics import fmean

from sqlalchemy import Engine, func, select

from factory.mining.findings import table
from factory.mining.questions import Words, near_duplicates
from factory.mining.rank import Asking
from factory.mining.worklist_cases import Case, read_cases
from logs_schema.records import UtcDatetime, Value
from logs_schema.rows import CONTEXT, DOCUMENT, chunks
from logs_schema.taxonomy import WorkKind
from logs_schema.wording import counted

HINTS = {
    WorkKind.retrieval_miss: "The corpus holds it and the retriever missed it: chunk along headings and across "
    "cross-references, retrieve more and rerank (two stages), put users' words into title or summary.",
    WorkKind.stale_context: "Re-index the document, and take superseded and withdrawn versions out of the index.",
    WorkKind.truncated_context: "The window cut the passages off: rerank before cutting, retrieve fewer or "
    "shorter passages, or enlarge the window.",
    WorkKind.knowledge_gap: "No document covers it: write the article, or say in the product that it is left out.",
    WorkKind.insufficient_context: "Cause unknown: look whether the document holds it (then chunking and "
    "reranking) or not (then write it).",
    WorkKind.multi_hop: "One passage is not enough: split the question and retrieve for each part (multi-hop "
    "retrieval), or write a page that brings the parts together.",
}
"""What usually cures each kind."""
ALIKE = 0.4
"""Jaccard similarity of content words from which on two questions are of one topic."""
EXAMPLES = 3


class Example(Value):
    """One of the questions."""

    record_id: str
    query: str
    why: str


class WorkItem(Value):
    """Something to mend: one kind of cause at one document or topic."""

    kind: WorkKind
    documents: tuple[str, ...]
    """Ids of the documents that it is about; none for a topic that no document covers, and for cut-off windows."""
    title: str
    """Title of the documents, or the question that stands for the topic."""
    records: int
    """Answers that it spoiled."""
    questions: int
    """Different questions among them; near-duplicates count once."""
    people: int
    """People who asked: users, else sessions, else records."""
    unhappy: int
    """How many of them were not content with the answer."""
    feedback: float | None
    """Mean of what they said, one voice a person, -1 (bad) to 1 (good); None when nobody said anything."""
    confidence: float
    """Mean confidence of the findings; where the cause comes second, that of the primary failure."""
    first_seen: UtcDatetime
    last_seen: UtcDatetime
    examples: tuple[Example, ...]
    hint: str

    @property
    def weight(self) -> float:
        """What the list is sorted by: people, how bad their feedback was, and how sure the miner is."""
        return self.people * self.confidence * (1 + max(0.0, -(self.feedback or 0.0)))


class Worklist(Value):
    """What the RAG team can mend."""

    items: tuple[WorkItem, ...]
    """The most worthwhile first."""
    total: int
    """How many items there are without the limit."""
    records: dict[WorkKind, int]
    """Kind → records, over all items; one record may have two causes."""
    searched: bool
    """Whether a documents feed with texts was there: without one, gaps cannot be told."""

    def text(self) -> str:
        """A table, then examples and cures by item."""
        if not self.items:
            return "Nothing to mend in retrieval, content or prompt was found. Run `factory mine` when logs are new."
        rows = [
            (str(n), one.kind, one.title, str(one.records), str(one.people), _feedback(one), f"{one.confidence:.2f}")
            for n, one in enumerate(self.items, start=1)
        ]
        head = ("", "kind", "document or topic", "answers", "people", "feedback", "sure")
        lines = [*table(head, rows), ""]
        for n, one in enumerate(self.items, start=1):
            about = f" (document {', '.join(one.documents)})" if one.documents else ""
            lines += [f"{n}. {one.kind}: {' '.join(one.title.split())}{about}", f"   {one.hint}"]
            lines += [f"   e.g. {' '.join(example.query.split())}  [{example.record_id}]" for example in one.examples]
        counts = ", ".join(f"{count:,} {kind}" for kind, count in self.records.items())
        lines += ["", f"{len(self.items):,} of {counted(self.total, 'item')}; answers by cause: {counts}."]
        if not self.searched:
            lines.append(
                "No documents with texts were imported (`factory documents import`): what is missing from the corpus "
                "cannot be told from what was not retrieved."
            )
        return "\n".join(lines)


def worklist(
    engine: Engine, *, kind: WorkKind | None = None, since: datetime | None = None, limit: int | None = None
) -> Worklist:
    """Group what is wrong outside the model's behaviour.

    Args:
        engine: The store, mined.
        kind: Only this one.
        since: Only records that occurred then or later.
        limit: Items to return at the most.
    """
    cases = [case for case in read_cases(engine, since) if kind in (None, case.kind)]
    groups: dict[tuple[WorkKind, tuple[str, ...]], list[Case]] = {}
    for case in cases:
        if case.key:
            groups.setdefault((case.kind, case.key), []).append(case)
    for name in WorkKind:
        for topic, some in _topics([case for case in cases if case.kind == name and not case.key]).items():
            groups[name, ("", topic)] = some
    items = sorted(
        (_item(name, key, some) for (name, key), some in groups.items()),
        key=lambda item: (-item.weight, item.kind, item.documents, item.examples[0].record_id),
    )
    shown = items[:limit]
    titles = _titles(engine, {document for item in shown for document in item.documents})
    records = {name: sum(case.kind == name for case in cases) for name in WorkKind}
    with engine.connect() as connection:
        searched = connection.scalar(select(DOCUMENT.c.doc_id).where(DOCUMENT.c.text.is_not(None)).limit(1))
    return Worklist(
        items=tuple(_titled(item, titles) for item in shown),
        total=len(items),
        records={name: count for name, count in records.items() if count},
        searched=searched is not None,
    )


def _titles(engine: Engine, documents: Iterable[str]) -> dict[str, str]:
    """Titles by document, from the feed, else from the logs."""
    titles: dict[str, str] = {}
    with engine.connect() as connection:
        for source in (CONTEXT, DOCUMENT):
            for some in chunks(sorted(documents)):
                where = (source.c.doc_id.in_(some), source.c.title.is_not(None))
                query = select(source.c.doc_id, func.max(source.c.title)).where(*where).group_by(source.c.doc_id)
                titles |= {row[0]: row[1] for row in connection.execute(query)}
    return titles


def _topics(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """Question that stands for a topic → its cases: around the most asked questions, those that are alike."""
    asked: dict[Words, list[Case]] = {}
    for case in cases:
        asked.setdefault(case.words, []).append(case)
    near = near_duplicates(asked, ALIKE)
    topics: dict[str, list[Case]] = {}
    left = set(asked)
    for words in sorted(asked, key=lambda words: (-len(asked[words]), asked[words][0].record_id)):
        if words in left:
            members = [words, *(other for other in near[words] if other in left)]
            left -= set(members)
            topics[asked[words][0].query] = [case for member in members for case in asked[member]]
    return topics


def _item(kind: WorkKind, key: tuple[str, ...], cases: list[Case]) -> WorkItem:
    voices: dict[str, list[float]] = {}
    for case in cases:
        if case.vote is not None:
            voices.setdefault(case.person, []).append(case.vote)
    people = {case.person for case in cases}
    asking = Asking.of(len(cases), len(people), [fmean(said) for said in voices.values()])
    first: dict[str, Case] = {}
    for case in sorted(cases, key=lambda case: (case.vote or 0.0, -case.confidence, case.record_id)):
        first.setdefault(case.cluster, case)
    moments = [case.occurred_at for case in cases]
    documents = () if key[0] == "" else key
    return WorkItem(
        kind=kind,
        documents=documents,
        title=", ".join(documents) or key[1],
        records=len(cases),
        questions=len(first),
        people=len(people),
        unhappy=asking.unhappy,
        feedback=asking.feedback,
        confidence=round(fmean(case.confidence for case in cases), 4),
        first_seen=min(moments),
        last_seen=max(moments),
        examples=tuple(
            Example(record_id=case.record_id, query=case.query, why=case.why)
            for case in list(first.values())[:EXAMPLES]
        ),
        hint=HINTS[kind],
    )


def _titled(item: WorkItem, titles: dict[str, str]) -> WorkItem:
    if not item.documents:
        return item
    return item.model_copy(update={"title": " + ".join(titles.get(name) or name for name in item.documents)})


def _feedback(item: WorkItem) -> str:
    return "-" if item.feedback is None else f"{item.feedback:+.2f} ({item.unhappy} unhappy)"
