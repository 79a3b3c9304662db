"""Every table of the store. Rows are storage only: validation happens in `records`.

`table=True` classes do not validate, and their instances expire at commit: only `store.py` and
the modules that own a table touch rows, and they hand out values.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlmodel import Field, SQLModel


def _of_text(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(f"{text}+00:00")


@lru_cache(8192)  # the same documents are retrieved again and again
def _to_text(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat(" ", "microseconds")[:26]


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, kept in UTC on every database (SQLite drops time zones)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], Any] | None:
        """As TypeDecorator has it; SQLite's text in one step."""
        return _to_text if dialect.name == "sqlite" else super().bind_processor(dialect)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to UTC before storing."""
        return value if value is None or value.tzinfo is UTC else value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        """As TypeDecorator has it; SQLite's text in one step, which takes a fifth of the time of its three."""
        return _of_text if dialect.name == "sqlite" else super().result_processor(dialect, coltype)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Attach UTC, or convert to it, after reading."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def now() -> datetime:
    """The present moment, in UTC."""
    return datetime.now(UTC)


def _moment(*, nullable: bool = False, index: bool = False) -> Any:
    return Column(UtcDateTime(), nullable=nullable, index=index)


def _parent(target: str, *, nullable: bool = False, index: bool = True, delete: str = "CASCADE") -> Any:
    return Column(String(), ForeignKey(target, ondelete=delete), nullable=nullable, index=index)


# --- logs -----------------------------------------------------------------------------------------


class Passage(SQLModel, table=True):
    """A passage text, stored once however often it was retrieved."""

    hash: str = Field(primary_key=True)
    text: str = Field(sa_column=Column(Text(), nullable=False))


class PassageVectors(SQLModel, table=True):
    """Vectors of a passage's sentences, kept so that they are computed once; may be emptied at any time."""

    __tablename__ = "passage_vectors"

    passage_hash: str = Field(
        sa_column=Column(String(), ForeignKey("passage.hash", ondelete="CASCADE"), primary_key=True)
    )
    encoder: str = Field(primary_key=True)
    """Name of the sentence encoder, and version of how texts are split."""
    sentences: int
    vectors: bytes = Field(sa_column=Column(LargeBinary(), nullable=False))
    """One row a sentence, little-endian 16-bit floats."""


class Prompt(SQLModel, table=True):
    """A prompt template seen in the logs."""

    hash: str = Field(primary_key=True)
    template: dict[str, Any] = Field(sa_column=Column(JSON(), nullable=False))


class Interaction(SQLModel, table=True):
    """One RagRecord without its contexts and feedback."""

    __table_args__ = (
        UniqueConstraint("source", "source_id"),
        Index("ix_interaction_session", "session_id", "occurred_at"),
        Index("ix_interaction_user", "user_id", "occurred_at"),
    )

    id: str = Field(primary_key=True)
    source: str
    source_id: str
    content_hash: str
    occurred_at: datetime = Field(sa_column=_moment(index=True))
    query: str = Field(sa_column=Column(Text(), nullable=False))
    response: str = Field(sa_column=Column(Text(), nullable=False))
    history: list[dict[str, Any]] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    prompt_hash: str | None = Field(default=None, sa_column=_parent("prompt.hash", nullable=True, delete="RESTRICT"))
    prompt_version: str | None = None
    truncated: bool | None = None
    model: str | None = None
    reference: str | None = Field(default=None, sa_column=Column(Text()))
    latency_ms: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    session_id: str | None = None
    user_id: str | None = None
    tags: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    error: str | None = None
    imported_at: datetime = Field(default_factory=now, sa_column=_moment())
    line_hash: str | None = Field(default=None, index=True)
    """Hash of the log line that it is as (see `importers.seen`); None when something else shaped it."""


class ContextLink(SQLModel, table=True):
    """A passage in one interaction, at its rank."""

    __tablename__ = "context"
    __table_args__ = (Index("ix_context_doc", "doc_id", "updated_at"),)

    interaction_id: str = Field(
        sa_column=Column(String(), ForeignKey("interaction.id", ondelete="CASCADE"), primary_key=True)
    )
    rank: int = Field(primary_key=True)
    passage_hash: str = Field(sa_column=_parent("passage.hash", delete="RESTRICT"))
    doc_id: str | None = None
    title: str | None = None
    url: str | None = None
    version: str | None = None
    updated_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    groups: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    score: float | None = None


class FeedbackEvent(SQLModel, table=True):
    """One feedback event. It names its trace, not a row: feedback may come before the log line."""

    __tablename__ = "feedback"

    source: str = Field(primary_key=True)
    source_id: str = Field(primary_key=True)
    identifier: str = Field(primary_key=True)
    kind: str
    value: float | None = None
    label: str | None = None
    comment: str | None = Field(default=None, sa_column=Column(Text()))
    correction: str | None = Field(default=None, sa_column=Column(Text()))
    by: str | None = None
    occurred_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    simulated: bool = False


class PendingSpan(SQLModel, table=True):
    """A span whose trace is not whole yet; it joins when the rest of the trace comes."""

    __tablename__ = "pending_span"

    source: str = Field(primary_key=True)
    trace_id: str = Field(primary_key=True)
    span_id: str = Field(primary_key=True)
    span: dict[str, Any] = Field(sa_column=Column(JSON(), nullable=False))


class JoinedSpan(SQLModel, table=True):
    """Which trace a span belonged to that has joined its record: feedback may name the span only."""

    __tablename__ = "joined_span"
    __table_args__ = (Index("ix_joined_span_trace", "source", "trace_id"),)

    source: str = Field(primary_key=True)
    span_id: str = Field(primary_key=True)
    trace_id: str


class DocumentVersion(SQLModel, table=True):
    """One version of a document of the corpus, as the documents feed tells it."""

    __tablename__ = "document"

    doc_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    """Tells the versions of a document apart: see `documents.Document.key`."""
    version: str | None = None
    updated_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    text_hash: str | None = None
    text: str | None = Field(default=None, sa_column=Column(Text()))
    title: str | None = None
    url: str | None = None
    withdrawn: bool = False
    imported_at: datetime = Field(default_factory=now, sa_column=_moment())
    """When it was first seen."""


class Watermark(SQLModel, table=True):
    """How far a step that goes over everything new has come."""

    step: str = Field(primary_key=True)
    """Name of the step and hash of its settings: with others it begins anew."""
    moment: datetime = Field(sa_column=_moment())
    """What was imported before has been seen."""


class ImportRun(SQLModel, table=True):
    """One imported file."""

    __tablename__ = "import_run"

    id: int | None = Field(default=None, primary_key=True)
    file: str
    format: str
    started_at: datetime = Field(default_factory=now, sa_column=_moment())
    finished_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0


class Secret(SQLModel, table=True):
    """A secret of the store itself."""

    name: str = Field(primary_key=True)
    value: str


class Forgotten(SQLModel, table=True):
    """What was forgotten, as keyed hashes: a later import leaves it out."""

    __tablename__ = "forgotten"

    kind: str = Field(primary_key=True)
    """`trace`, `user` or `document`."""
    hash: str = Field(primary_key=True)
    record_id: str | None = Field(default=None, index=True)
    """Of a trace: what dataset rows and Argilla know it by."""
    left: dict[str, Any] | None = Field(default=None, sa_column=Column("left_to_do", JSON(none_as_null=True)))
    """Where something is still to be deleted outside the store → what (see `forgetting.FILES`); None: nothing is."""
    forgotten_at: datetime = Field(default_factory=now, sa_column=_moment())


class ForgottenExample(SQLModel, table=True):
    """A row of a dataset version that was taken out of its files; adapters may have learned from it before."""

    __tablename__ = "forgotten_example"

    dataset_id: str = Field(sa_column=Column(String(), ForeignKey("dataset.id", ondelete="CASCADE"), primary_key=True))
    example_id: str = Field(primary_key=True)
    forgotten_at: datetime = Field(default_factory=now, sa_column=_moment())


# --- mining and curation --------------------------------------------------------------------------


class FindingRow(SQLModel, table=True):
    """What the miner says of one interaction; `failure = none` marks it as mined too."""

    __tablename__ = "finding"
    __table_args__ = (Index("ix_finding_failure", "failure", "route"),)

    interaction_id: str = Field(
        sa_column=Column(String(), ForeignKey("interaction.id", ondelete="CASCADE"), primary_key=True)
    )
    miner_version: str
    """Hash of the miner's code version and thresholds; another one is due for mining again."""
    record_hash: str
    """Content hash of the record when it was mined."""
    failure: str
    secondary: list[str] = Field(default_factory=list, sa_column=Column(JSON(), nullable=False))
    route: str
    confidence: float
    scores: dict[str, Any] = Field(sa_column=Column(JSON(), nullable=False))
    evidence: list[dict[str, Any]] = Field(default_factory=list, sa_column=Column(JSON(), nullable=False))
    why: str = Field(sa_column=Column(Text(), nullable=False))
    vote: float | None = None
    """-1 (bad) to 1 (good): what people said of the answer; None when nobody did."""
    cluster: str | None = Field(default=None, index=True)
    """Id of the record that first asked this or nearly this; None until the questions were compared."""
    mined_at: datetime = Field(default_factory=now, sa_column=_moment())


class Judgement(SQLModel, table=True):
    """What the judge of the miner said of one interaction, so that it is not asked twice."""

    interaction_id: str = Field(
        sa_column=Column(String(), ForeignKey("interaction.id", ondelete="CASCADE"), primary_key=True)
    )
    key: str
    """Hash of what was asked: question, passages, answer, instructions and model."""
    verdict: dict[str, Any] = Field(sa_column=Column(JSON(), nullable=False))
    tokens: int
    """Tokens that it cost."""
    judged_at: datetime = Field(default_factory=now, sa_column=_moment())


class CalibrationRow(SQLModel, table=True):
    """Append-only log of how measures became probabilities in this store: the last row of a name is in force."""

    __tablename__ = "calibration"

    id: int | None = Field(default=None, primary_key=True)
    name: str
    """Which of the package's fits it replaces."""
    fit: dict[str, Any] = Field(sa_column=Column(JSON(), nullable=False))
    report: dict[str, Any] = Field(sa_column=Column(JSON(), nullable=False))
    made_at: datetime = Field(default_factory=now, sa_column=_moment())


class QueueItem(SQLModel, table=True):
    """A record that curators should see."""

    __tablename__ = "queue"

    interaction_id: str = Field(
        sa_column=Column(String(), ForeignKey("interaction.id", ondelete="CASCADE"), primary_key=True)
    )
    reason: str
    """`finding`, `audit` or `ticket`."""
    failure: str | None = None
    """Primary failure when queued; None for audit records and tickets."""
    priority: float
    """Higher comes first."""
    confidence: float | None = None
    """Of the finding when it was queued or, while it was not sent, last looked at; None for audit records."""
    miner_version: str | None = None
    """Of the finding then; None for audit records."""
    factors: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
    """What the priority is made of, see `factory.mining.rank.Factors`; None for audit records."""
    queued_at: datetime = Field(default_factory=now, sa_column=_moment())
    pushed_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    pushed_to: str | None = None
    """`URL workspace/dataset` of the Argilla that holds it."""


class Review(SQLModel, table=True):
    """What one curator decided about one record."""

    __table_args__ = (UniqueConstraint("interaction_id", "reviewer"),)

    id: str = Field(primary_key=True)
    """16 hexadecimal digits from interaction and reviewer."""
    interaction_id: str = Field(sa_column=_parent("interaction.id"))
    reviewer: str
    decision: str
    ideal_answer: str | None = Field(default=None, sa_column=Column(Text()))
    failure: str | None = None
    """The failure as the curator sees it; None when not said."""
    comment: str | None = Field(default=None, sa_column=Column(Text()))
    draft: str | None = Field(default=None, sa_column=Column(Text()))
    draft_source: str = "none"
    audit: bool = False
    guidelines_version: str
    record_hash: str
    """Exchange hash of the record that the curator saw."""
    reviewed_at: datetime = Field(sa_column=_moment())
    pulled_at: datetime = Field(default_factory=now, sa_column=_moment())


# --- datasets, adapters, promotions ---------------------------------------------------------------


class DatasetVersion(SQLModel, table=True):
    """One built dataset folder."""

    __tablename__ = "dataset"

    id: str = Field(primary_key=True)
    path: str
    manifest: dict[str, Any] = Field(sa_column=Column(JSON(), nullable=False))
    created_at: datetime = Field(default_factory=now, sa_column=_moment())


class DatasetRow(SQLModel, table=True):
    """Which record and review a row of a dataset version came from."""

    __tablename__ = "dataset_row"
    __table_args__ = (Index("ix_dataset_row_interaction", "interaction_id"),)

    dataset_id: str = Field(sa_column=Column(String(), ForeignKey("dataset.id", ondelete="CASCADE"), primary_key=True))
    example_id: str = Field(primary_key=True)
    kind: str
    split: str
    interaction_id: str | None = None
    review_id: str | None = None


class SplitPlacement(SQLModel, table=True):
    """The side on which a record was placed once; it never moves."""

    __tablename__ = "split_placement"

    interaction_id: str = Field(
        sa_column=Column(String(), ForeignKey("interaction.id", ondelete="CASCADE"), primary_key=True)
    )
    split: str
    group: str = Field(sa_column=Column("leak_group", String(), nullable=False))
    placed_at: datetime = Field(default_factory=now, sa_column=_moment())


class Adapter(SQLModel, table=True):
    """One trained adapter."""

    id: str = Field(primary_key=True)
    """16 hexadecimal digits: hash of the adapter's weights and what they were trained on."""
    dataset_id: str = Field(sa_column=_parent("dataset.id", delete="RESTRICT"))
    base_model: str
    path: str
    sha256: str
    seed: int
    config: dict[str, Any] = Field(sa_column=Column(JSON(), nullable=False))
    created_at: datetime = Field(default_factory=now, sa_column=_moment())


class Evaluation(SQLModel, table=True):
    """One evaluation of an adapter on the held-out rows of a dataset."""

    id: str = Field(primary_key=True)
    adapter_id: str = Field(sa_column=_parent("adapter.id", delete="RESTRICT"))
    champion_id: str | None = None
    """Champion that it was compared with; None when there was none."""
    dataset_id: str = Field(sa_column=_parent("dataset.id", delete="RESTRICT"))
    path: str
    report: dict[str, Any] = Field(sa_column=Column(JSON(), nullable=False))
    created_at: datetime = Field(default_factory=now, sa_column=_moment())


class GateDecision(SQLModel, table=True):
    """What the gate said of one evaluation."""

    __tablename__ = "gate"

    id: str = Field(primary_key=True)
    evaluation_id: str = Field(sa_column=_parent("evaluation.id", delete="RESTRICT"))
    adapter_id: str = Field(sa_column=_parent("adapter.id", delete="RESTRICT"))
    passed: bool
    checks: list[dict[str, Any]] = Field(sa_column=Column(JSON(), nullable=False))
    created_at: datetime = Field(default_factory=now, sa_column=_moment())


class Promotion(SQLModel, table=True):
    """Append-only log of what runs in production: the champion is the last row."""

    id: int | None = Field(default=None, primary_key=True)
    action: str
    adapter_id: str | None = Field(default=None, sa_column=_parent("adapter.id", nullable=True, delete="RESTRICT"))
    """None: back to the plain base model."""
    gate_id: str | None = Field(default=None, sa_column=_parent("gate.id", nullable=True, delete="RESTRICT"))
    by: str
    note: str | None = None
    created_at: datetime = Field(default_factory=now, sa_column=_moment())


class JobRun(SQLModel, table=True):
    """One run of `nightly`, `retrain` or another scheduled command."""

    __tablename__ = "job_run"

    id: int | None = Field(default=None, primary_key=True)
    job: str
    started_at: datetime = Field(default_factory=now, sa_column=_moment(index=True))
    finished_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    outcome: str | None = None
    """`done`, `nothing due`, `refused`, or `failed: …`; None while it runs or when it was killed."""
    report: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True)))
