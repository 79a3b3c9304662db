"""What the logs hold and what they lack: shares with counts, what that means for mining, and what to log."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, and_, case, exists, func, or_, select

from logs_schema.records import FeedbackKind, UtcDatetime, Value, passage_hash
from logs_schema.rows import CONTEXT, FEEDBACK, INTERACTION, chunks
from logs_schema.wording import counted

WIDEST = 22


class Coverage(Value):
    """What records hold, as counts."""

    records: int = 0
    with_answer: int = 0
    """With a response that is not empty."""
    with_contexts: int = 0
    with_feedback: int = 0
    """With feedback that somebody gave, as opposed to signals read off behaviour."""
    with_correction: int = 0
    with_prompt: int = 0
    with_session: int = 0
    """With a session or a user."""
    with_model: int = 0
    with_latency: int = 0
    contexts: int = 0
    contexts_with_text: int = 0
    contexts_with_document: int = 0
    contexts_with_date: int = 0
    """With `updated_at` or `version`."""
    contexts_with_groups: int = 0

    def __add__(self, other: "Coverage") -> "Coverage":
        """Counts of both."""
        return Coverage(**{name: getattr(self, name) + getattr(other, name) for name in Coverage.model_fields})

    def share(self, field: "Field") -> float | None:
        """Share of the records or contexts that hold a field; None when there are none."""
        whole = getattr(self, field.of)
        return getattr(self, field.name) / whole if whole else None

    def lacks(self) -> tuple[str, ...]:
        """What is missing, what mining does without it, and what to change in the application."""
        return tuple(self._lacks())

    def _lacks(self) -> Iterator[str]:
        for field in FIELDS:
            whole = getattr(self, field.of)
            missing = whole - getattr(self, field.name)
            if whole and missing > field.tolerated * whole:
                of = field.of.removesuffix("s")
                have = counted(whole, f"{of} has", f"{field.of} have")
                yield f"{percent(missing, whole)} of {have} no {field.what}: {field.without}"


class Field(NamedTuple):
    """One thing that logs should hold."""

    name: str
    """The count in `Coverage`."""
    of: str
    """`records` or `contexts`."""
    what: str
    tolerated: float
    """Share that may lack it before that is worth a word."""
    without: str
    """What mining does without it, and how to log it."""


FIELDS = (
    Field(
        "with_answer",
        "records",
        "answer",
        0.02,
        "nothing can be judged there. Log `response` (and `error` when the call failed).",
    ),
    Field(
        "with_contexts",
        "records",
        "contexts",
        0.05,
        "an answer to them counts as made up. Log `contexts`, the passages in the order in which the model saw them.",
    ),
    Field(
        "contexts_with_text",
        "contexts",
        "text",
        0.0,
        "answers cannot be checked against them. Log the passages' `text`, or give it: `factory import --chunks`.",
    ),
    Field(
        "with_feedback",
        "records",
        "feedback",
        0.95,
        "mining will rely on scorers. Log `thumbs`, or import votes later with `factory feedback import`.",
    ),
    Field(
        "with_correction",
        "records",
        "correction",
        0.999,
        "the surest findings rest on corrections. Let experts write the right answer, and log it as `correction`.",
    ),
    Field(
        "with_session",
        "records",
        "session or user",
        0.1,
        "questions asked again, and one user's flood, go unseen. Log `session_id` and a pseudonymous `user_id`.",
    ),
    Field(
        "with_prompt",
        "records",
        "known prompt",
        0.1,
        "training renders the house prompt instead of yours. Log `messages` (all that the model was sent).",
    ),
    Field(
        "contexts_with_document",
        "contexts",
        "document id",
        0.05,
        "sources cannot be told apart: no staleness, and splits by text only. Log `doc_id`.",
    ),
    Field(
        "contexts_with_date",
        "contexts",
        "date or version",
        0.1,
        "outdated passages go unseen. Log `updated_at` of the document, or its `version` and import the documents.",
    ),
    Field(
        "contexts_with_groups",
        "contexts",
        "reader groups",
        0.1,
        "forbidden rows cannot be kept out of training. Log `groups` when not everybody may read everything.",
    ),
    Field(
        "with_model",
        "records",
        "model",
        0.1,
        "answers of an adapter cannot be told from the base model's. Log `model`.",
    ),
    Field("with_latency", "records", "latency", 0.5, "`factory logs stats` cannot show it. Log `latency_ms`."),
)
"""In the order in which they matter."""


class CoverageReport(Value):
    """What the records of a time and a source hold."""

    since: UtcDatetime | None
    source: str | None
    coverage: Coverage
    lacks: tuple[str, ...]
    """What is missing, what mining does without it, and what to change in the application."""

    def text(self) -> str:
        """A line for each field, and what to do."""
        if not self.coverage.records:
            return "There are no such records: run `factory import FILE`, or ask for another time or source."
        where = f" of {self.source}" if self.source else ""
        when = f" since {self.since:%Y-%m-%d %H:%M} UTC" if self.since else ""
        lines = [
            f"{counted(self.coverage.records, 'record')}{where}{when}, {counted(self.coverage.contexts, 'context')}"
        ]
        for field in FIELDS:
            whole, held = getattr(self.coverage, field.of), getattr(self.coverage, field.name)
            of = counted(whole, field.of.removesuffix("s"))
            lines.append(f"  {percent(held, whole):>5}  {field.what:<{WIDEST}} {held:,} of {of}")
        if self.lacks:
            lines += ["", "What that means, and what to log:", *(f"  {lack}" for lack in self.lacks)]
        return "\n".join(lines)


def percent(part: int, whole: int) -> str:
    """A share for people: never rounded to 0 % or 100 % when it is neither; `none` of nothing."""
    if not whole:
        return "none"
    share = 100 * part / whole
    if 0 < share < 1:
        return "<1 %"
    return ">99 %" if 99 < share < 100 else f"{share:.0f} %"


def coverage_in(connection: Connection, ids: Sequence[str]) -> Coverage:
    """What these records hold."""
    return sum((coverage_where(connection, INTERACTION.c.id.in_(some)) for some in chunks(ids)), Coverage())


def coverage_report(engine: Engine, *, since: datetime | None = None, source: str | None = None) -> CoverageReport:
    """What the records since a moment and of a source hold; all of them without these."""
    where = [INTERACTION.c.occurred_at >= since] if since else []
    where += [INTERACTION.c.source == source] if source else []
    with engine.connect() as connection:
        found = coverage_where(connection, *where)
    return CoverageReport(since=since, source=source, coverage=found, lacks=found.lacks())


def coverage_where(connection: Connection, *where: ColumnElement[bool]) -> Coverage:
    """What the records that fulfil conditions on `interaction` hold."""
    columns = INTERACTION.c
    told = and_(FEEDBACK.c.source == columns.source, FEEDBACK.c.source_id == columns.source_id)
    given = told, FEEDBACK.c.kind != FeedbackKind.implicit.value
    of_records = {
        "records": func.count(),
        "with_answer": how_many(columns.response != ""),
        "with_contexts": how_many(exists().where(CONTEXT.c.interaction_id == columns.id)),
        "with_feedback": how_many(exists().where(*given)),
        "with_correction": how_many(exists().where(told, FEEDBACK.c.correction.is_not(None))),
        "with_prompt": func.count(columns.prompt_hash),
        "with_session": how_many(or_(columns.session_id.is_not(None), columns.user_id.is_not(None))),
        "with_model": func.count(columns.model),
        "with_latency": func.count(columns.latency_ms),
    }
    of_contexts = {
        "contexts": func.count(),
        "contexts_with_text": how_many(CONTEXT.c.passage_hash != passage_hash("")),
        "contexts_with_document": func.count(CONTEXT.c.doc_id),
        "contexts_with_date": how_many(or_(CONTEXT.c.updated_at.is_not(None), CONTEXT.c.version.is_not(None))),
        "contexts_with_groups": func.count(CONTEXT.c.groups),
    }
    links = CONTEXT.join(INTERACTION, columns.id == CONTEXT.c.interaction_id) if where else CONTEXT
    records = connection.execute(select(*of_records.values()).select_from(INTERACTION).where(*where)).one()
    contexts = connection.execute(select(*of_contexts.values()).select_from(links).where(*where)).one()
    return Coverage(**dict(zip([*of_records, *of_contexts], [*records, *contexts], strict=True)))


def how_many(condition: ColumnElement[bool]) -> ColumnElement[int]:
    """How many rows fulfil a condition."""
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)
