"""Fetch what curators decided, and keep it as reviews."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, delete, insert, select, update

from labeling import client as argilla
from labeling.settings import LabelingSettings
from logs_schema.database import writing
from logs_schema.errors import NotReadyError
from logs_schema.records import Value, content_hash
from logs_schema.rows import QUEUE, REVIEW
from logs_schema.scores import AbstentionDetector, GroundednessScorer, Track, untracked
from logs_schema.settings import HouseSettings
from logs_schema.store import load_records
from logs_schema.tables import now
from logs_schema.taxonomy import Decision, Failure, QueueReason
from logs_schema.wording import counted

NO_ANSWER = "decision `answer` without an ideal answer"
ABSTAINS = 'decision `answer`, but the ideal answer says "I don\'t know"'
NO_DECISION = "no known decision"
UNKNOWN_RECORD = "its record is not in the store's queue"


class Incomplete(Value):
    """A submitted response that is not accepted as a review."""

    record_id: str
    reviewer: str
    reason: str


class PullReport(Value):
    """What a pull found. A review is one record decided by one reviewer."""

    target: str
    """`URL workspace/dataset`."""
    new: int
    changed: int
    unchanged: int
    withdrawn: int
    """Reviews removed: their response was discarded, taken back, or is no longer complete."""
    by_decision: dict[str, int]
    """Accepted reviews of this pull by decision."""
    incomplete: tuple[Incomplete, ...]
    unsupported: tuple[str, ...]
    """Record ids of new or changed ideal answers that the passages support less than `supported_from`; kept."""
    supported_from: float | None
    """None when support was not measured."""

    def text(self) -> str:
        """A few lines, and every response that was not accepted."""
        counts = f"{self.new} new, {self.changed} changed, {self.unchanged} unchanged, {self.withdrawn} withdrawn"
        lines = [f"Pulled reviews from {self.target}: {counts}."]
        lines += [f"  {count:5d}  {decision}" for decision, count in sorted(self.by_decision.items())]
        if self.incomplete:
            refused = counted(len(self.incomplete), "submitted response was", "submitted responses were")
            lines.append(f"{refused} not accepted; ask the curator to mend what is missing:")
            lines += [f"  {item.record_id}  {item.reviewer}: {item.reason}" for item in self.incomplete]
        if self.unsupported:
            have = counted(len(self.unsupported), "ideal answer has", "ideal answers have")
            lines.append(
                f"{have} less than {self.supported_from:.2f} support in the passages: {', '.join(self.unsupported)}"
            )
        return "\n".join(lines)


class _Found(NamedTuple):
    """A submitted response as a row of the review table."""

    row: dict[str, Any]
    fault: str | None


def pull(
    engine: Engine,
    settings: LabelingSettings,
    house: HouseSettings,
    *,
    is_abstention: AbstentionDetector,
    groundedness: GroundednessScorer | None = None,
    supported_from: float = 0.5,
    api_key: str | None = None,
    track: Track = untracked,
) -> PullReport:
    """Make the store's reviews the same as the submitted responses of the review dataset.

    A changed response changes its review. One that was discarded or taken back removes it; the
    reviews of a record or a user that were deleted in Argilla stay. A response is not accepted when
    its decision is `answer` and the ideal answer is missing or is an abstention.

    `is_abstention` tells an ideal answer that says "I don't know". With `groundedness`, new and changed
    ideal answers that the record's passages support less than `supported_from` (0 to 1) are listed.

    Raises:
        NotReadyError: there is no review dataset yet.
        ConfigurationError, NotReadyError, InputError: see `client.connect` and `client.ask`.
    """
    target = argilla.target(settings)
    outcome: Counter[str] = Counter()
    decisions: Counter[str] = Counter()
    incomplete: list[Incomplete] = []
    written: list[dict[str, Any]] = []
    with argilla.session(settings, api_key) as client:
        dataset = argilla.find_dataset(client, settings)
        if dataset is None:
            raise NotReadyError(f"There is no dataset at {target} yet: run `factory label push` first.")
        users = argilla.usernames(client)
        for page in track(argilla.submitted_records(client, dataset["id"], settings.batch_size), description="pull"):
            with writing(engine) as connection:
                queued = _reasons(connection, [record["external_id"] for record in page])
                found = [item for record in page for item in _responses(record, users, queued, house, is_abstention)]
                incomplete += [_incomplete(item) for item in found if item.fault]
                good = [item.row for item in found if item.fault is None]
                decisions.update(row["decision"] for row in good)
                written += _save(connection, good, outcome)
        refused = {(item.record_id, item.reviewer) for item in incomplete}
        for ids in _reviewed(engine, target, settings.batch_size):
            there = argilla.records_by_id(client, dataset["id"], ids)
            with writing(engine) as connection:
                outcome["withdrawn"] += _remove_withdrawn(connection, there, users, refused)
    return PullReport(
        target=target,
        new=outcome["new"],
        changed=outcome["changed"],
        unchanged=outcome["unchanged"],
        withdrawn=outcome["withdrawn"],
        by_decision=dict(decisions),
        incomplete=tuple(incomplete),
        unsupported=_unsupported(engine, written, groundedness, supported_from),
        supported_from=supported_from if groundedness else None,
    )


def _reasons(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    query = select(QUEUE.c.interaction_id, QUEUE.c.reason).where(QUEUE.c.interaction_id.in_(ids))
    return {row.interaction_id: row.reason for row in connection.execute(query)}


def _responses(
    record: dict[str, Any],
    users: dict[str, str],
    queued: dict[str, str],
    house: HouseSettings,
    is_abstention: AbstentionDetector,
) -> Iterable[_Found]:
    """The submitted responses of one record, in the order of their reviewers."""
    metadata = record["metadata"] or {}
    draft, source = _draft(record)
    submitted = [response for response in record["responses"] or () if response["status"] == "submitted"]
    for response in sorted(submitted, key=lambda response: str(response["user_id"])):
        values = {name: answer.get("value") for name, answer in (response["values"] or {}).items()}
        reviewer = users.get(str(response["user_id"]), str(response["user_id"]))
        decision, ideal = values.get("decision"), _text(values.get("ideal_answer"))
        answers = decision == Decision.answer
        row = {
            "id": content_hash([record["external_id"], reviewer]),
            "interaction_id": record["external_id"],
            "reviewer": reviewer,
            "decision": decision,
            "ideal_answer": ideal if answers else None,  # a draft that the curator left in the box is no answer
            "failure": values["failure"] if values.get("failure") in list(Failure) else None,
            "comment": _text(values.get("comment")),
            "draft": draft,
            "draft_source": source,
            "audit": queued.get(record["external_id"]) == QueueReason.audit,
            "guidelines_version": str(metadata.get("guidelines_version", house.guidelines_version)),
            "record_hash": str(metadata.get("record_hash", "")),
            "reviewed_at": _moment(response["updated_at"]),
        }
        fault = None
        if record["external_id"] not in queued:
            fault = UNKNOWN_RECORD
        elif decision not in list(Decision):
            fault = NO_DECISION
        elif answers and ideal is None:
            fault = NO_ANSWER
        elif answers and is_abstention(str(ideal)):
            fault = ABSTAINS
        yield _Found(row, fault)


def _draft(record: dict[str, Any]) -> tuple[str | None, str]:
    """The draft that the curator saw and where it came from: the record's only text suggestion."""
    for suggestion in record["suggestions"] or ():
        if isinstance(suggestion["value"], str):
            return suggestion["value"], suggestion["agent"] or "unknown"
    return None, "none"


def _text(value: Any) -> str | None:
    return (value.strip() or None) if isinstance(value, str) else None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _incomplete(item: _Found) -> Incomplete:
    row = item.row
    return Incomplete(record_id=row["interaction_id"], reviewer=row["reviewer"], reason=str(item.fault))


def _save(connection: Connection, rows: Sequence[dict[str, Any]], outcome: Counter[str]) -> list[dict[str, Any]]:
    """Insert or update; the rows that were written."""
    known = {row["id"]: dict(row) for row in _stored(connection, REVIEW.c.id.in_([row["id"] for row in rows]))}
    written = []
    for row in rows:
        old = known.get(row["id"])
        if old and all(old[name] == value for name, value in row.items()):
            outcome["unchanged"] += 1
            continue
        if old:
            connection.execute(update(REVIEW).where(REVIEW.c.id == row["id"]).values(**row, pulled_at=now()))
        else:
            connection.execute(insert(REVIEW).values(**row, pulled_at=now()))
        outcome["changed" if old else "new"] += 1
        written.append(row)
    return written


def _stored(connection: Connection, condition: Any) -> list[Any]:
    return list(connection.execute(select(REVIEW).where(condition)).mappings())


def _reviewed(engine: Engine, target: str, size: int) -> Iterable[list[str]]:
    """Ids of the reviewed records of this Argilla, in chunks."""
    pushed_here = select(QUEUE.c.interaction_id).where(QUEUE.c.pushed_to == target)
    query = select(REVIEW.c.interaction_id).where(REVIEW.c.interaction_id.in_(pushed_here)).distinct()
    with engine.connect() as connection:
        ids = sorted(connection.execute(query).scalars())
    for at in range(0, len(ids), size):
        yield ids[at : at + size]


def _remove_withdrawn(
    connection: Connection, there: dict[str, dict[str, Any]], users: dict[str, str], refused: set[tuple[str, str]]
) -> int:
    """Delete reviews whose record is in Argilla, and whose reviewer too, without an accepted response."""
    submitted = {
        (record_id, users.get(str(response["user_id"]), ""))
        for record_id, record in there.items()
        for response in record["responses"] or ()
        if response["status"] == "submitted"
    } - refused
    gone = [
        row["id"]
        for row in _stored(connection, REVIEW.c.interaction_id.in_(list(there)))
        if row["reviewer"] in users.values() and (row["interaction_id"], row["reviewer"]) not in submitted
    ]
    if gone:
        connection.execute(delete(REVIEW).where(REVIEW.c.id.in_(gone)))
    return len(gone)


def _unsupported(
    engine: Engine, rows: Sequence[dict[str, Any]], groundedness: GroundednessScorer | None, supported_from: float
) -> tuple[str, ...]:
    answers = [(row["interaction_id"], row["ideal_answer"]) for row in rows if row["ideal_answer"]]
    if groundedness is None or not answers:
        return ()
    records = load_records(engine, sorted({record_id for record_id, _ in answers}))
    pairs = [(answer, [context.text for context in records[record_id].contexts]) for record_id, answer in answers]
    supports = groundedness(pairs)
    weak = {answer[0] for answer, support in zip(answers, supports, strict=True) if support < supported_from}
    return tuple(sorted(weak))
